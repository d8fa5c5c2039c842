"""Ten times as many requests at once as a fleet has seats and places in its queue."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest

from cortex_actors.config.api_keys import add_api_key
from cortex_actors.kit.inbox import DEFAULT_LIMIT
from tests.eventually import eventually
from tests.process.crowd import PATIENCE_S, Client, Crowd, Told
from tests.process.serving_fleet import LONG, SHORT, ServingFleet
from tests.process.test_killed_daemons import GONE_S
from tests.soak.oracle import Question

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

SEATS, QUEUE = 2, 4
CROWD = 10 * (SEATS + QUEUE)


class Scene(ServingFleet):
    """A small fleet, and what its operators are told of it; ``secrets`` are Ann's and Bob's."""

    secrets: dict[str, str]

    def is_full(self) -> bool:
        """Whether every place is taken."""
        model = self.model()
        return (model["running"], model["waiting"]) == (SEATS, QUEUE)

    def ask(self, door: str, path: str) -> Any:
        """What this door answers an operator, who must not be turned away."""
        answer = httpx.get(f"{self.fleet.urls[door]}{path}", timeout=PATIENCE_S, trust_env=False)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    def model(self) -> dict[str, Any]:
        """The model as its neuron shows it."""
        (row,) = self.ask("neuron", "/models")["models"]
        return dict(row)

    def actors(self) -> list[dict[str, Any]]:
        """All of the gateway, and, over its link, all of the neuron."""
        paths = ("/debug/actors", "/debug/actors?neuron=local")
        return [row for path in paths for row in self.ask("gateway", path)["actors"]]

    def leases(self) -> int:
        """How many the gateway has given and not got back."""
        (router,) = (
            row for row in self.ask("gateway", "/debug/actors")["actors"] if row["name"] == "router"
        )
        return int(router["detail"].split()[0].removeprefix("leases="))

    def lost_links(self) -> list[str]:
        """What the daemons and their front ends have said of links that went silent or down."""
        logs = (self.fleet.directory / f"{role}.log" for role in ("neurond", "cortexd"))
        lines = [line for log in logs for line in log.read_text().splitlines()]
        return [line for line in lines if "link_down" in line or "state=silent" in line]

    def is_at_rest(self) -> bool:
        """Whether nobody is served, nobody waits, and no lease is out."""
        model = self.model()
        return (model["running"], model["waiting"], self.leases()) == (0, 0, 0)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="crowd-", dir="/tmp") as directory:
        keys = Path(directory) / "keys.yaml"
        secrets = {name: add_api_key(keys, name) for name in ("ann", "bob")}
        scene = Scene(Path(directory), {"max_running": SEATS, "max_queued": QUEUE}, keys)
        scene.secrets = secrets
        yield scene
        assert set(scene.fleet.stop().values()) == {0}
        eventually(lambda: not scene.fleet.orphans(), GONE_S)


def look_while(scene: Scene, asked: list[Future[Told]]) -> int:
    """Ask all that operators ask until the crowd has its answers; return how often."""
    looks = 0
    while not looks or not all(each.done() for each in asked):
        model = scene.model()
        assert (model["running"] <= SEATS, model["waiting"] <= QUEUE) == (True, True), model
        for door in scene.doors:
            assert scene.ask(door, "/health")
        assert [row["state"] for row in scene.ask("gateway", "/admin/status")["neurons"]] == ["up"]
        full = [row for row in scene.actors() if row["mailbox"] > DEFAULT_LIMIT]
        assert not full, full
        looks += 1
    return looks


@pytest.mark.parametrize("door", ["gateway", "neuron"])
def test_whoever_finds_no_place_is_told_so_and_nothing_else_suffers(
    scene: Scene, door: str
) -> None:
    links = scene.lost_links()
    with Crowd(scene.fleet.urls[door], CROWD) as crowd:
        asked = crowd.ask(door, LONG)
        assert look_while(scene, asked)
        told = [each.result(PATIENCE_S) for each in asked]

    wrong = [each for each in told if not each.right and not each.refused]
    assert not wrong, wrong[:3]
    assert sum(each.right for each in told) >= SEATS
    assert any(each.refused for each in told)
    eventually(scene.is_at_rest, GONE_S)
    assert scene.lost_links() == links
    assert scene.answers(door)


@pytest.mark.parametrize("crowd_of", ["ann", ""])
def test_a_crowd_with_one_key_or_none_keeps_no_other_key_out(scene: Scene, crowd_of: str) -> None:
    url, key = scene.fleet.urls["gateway"], scene.secrets.get(crowd_of, "")
    bob = Client(url, scene.secrets["bob"])
    with Crowd(url, 2 * (SEATS + QUEUE), key) as crowd:
        asked = crowd.ask(f"crowd of {crowd_of}", LONG)
        eventually(scene.is_full, GONE_S)
        first = bob.ask(Question(f"bob, past {crowd_of}", SHORT, None))
        waiting = sum(not each.done() for each in asked)
        told = [each.result(PATIENCE_S) for each in asked]
    bob.close()

    assert first.right, first.code
    assert waiting > SEATS, "the crowd was gone before he had his answer"
    assert all(each.right or each.refused for each in told)
    # All places were taken: one of those that had one gave it up, and no more than one.
    assert sum(each.right for each in told) == SEATS + QUEUE - 1
    eventually(scene.is_at_rest, GONE_S)
