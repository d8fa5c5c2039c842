"""What ``cortexd top`` shows of a fleet on a terminal that is too small for all of it."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from cortex_actors.cli.top import live_page
from tests.unit.cli.fake_gateway import STATUS


def actor(name: str, **more: Any) -> dict[str, Any]:
    calm = {"name": name, "state": "running", "restarts": 0, "mailbox": 0, "handled": 9}
    return {**calm, "detail": "ipc:///tmp/cortex-0/neurond-13131/children.ipc", **more}


def shown(snapshot: dict[str, Any], height: int = 24) -> list[str]:
    console = Console(file=StringIO(), width=80, height=height, markup=False)
    console.print(live_page(snapshot, console))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_actors_in_trouble_are_shown_though_there_is_no_room_for_all() -> None:
    calm = [actor(f"calm{number}") for number in range(30)]
    troubled = [
        actor("waits", state="backoff"),
        actor("came_back", restarts=2),
        actor("lags", mailbox=40),
    ]
    lines = shown({"status": STATUS, "actors": {"cortexd": calm, "local": troubled}})
    assert len(lines) <= 24
    names = [line.split()[1] for line in lines if "running" in line or "backoff" in line]
    assert {"waits", "came_back", "lags", "calm0"} <= set(names)
    assert lines[-1] == f"… and {33 - len(names)} more: top --once prints all"


def test_all_are_shown_in_their_order_where_there_is_room() -> None:
    actors = [actor("calm"), actor("came_back", restarts=2)]
    lines = shown({"status": STATUS, "actors": {"cortexd": actors}}, height=40)
    assert [line.split()[1] for line in lines[-2:]] == ["calm", "came_back"]


def test_a_long_error_leaves_room_for_the_rest() -> None:
    failed = {"id": "tiny", "status": "failed", "error": "no such thing\n\n" * 40}
    neuron = {**STATUS["neurons"][0], "models": [failed]}
    faults = [{"model": "tiny", "node": "local", "reason": "failed"}] * 20
    health = {"status": "impaired", "unservable": faults}
    status = {**STATUS, "neurons": [neuron], "health": health}
    lines = shown({"status": status, "actors": {"cortexd": [actor("router")]}})
    assert any(line.startswith("cortexd  router") for line in lines)
