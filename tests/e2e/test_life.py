from __future__ import annotations

import re
import signal

import httpx
import pytest

from tests.e2e.fleet import MODEL, Fleet, read_stream
from tests.eventually import eventually
from tests.living import alive

pytestmark = [pytest.mark.process, pytest.mark.torch, pytest.mark.timeout(120)]


def open_stream(fleet: Fleet, max_tokens: int = 2000) -> object:
    return fleet.client().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Count from one to five hundred."}],
        temperature=0,
        max_tokens=max_tokens,
        stream=True,
    )


def running(fleet: Fleet) -> int:
    return int(fleet.model(neuron=True)["running"])


def disconnects(fleet: Fleet) -> tuple[float, float]:
    """How often an engine let go of a request whose client had left, and in how many seconds."""
    url = f"http://127.0.0.1:{fleet.metrics_port}/metrics"
    text = httpx.get(url, timeout=5.0, trust_env=False).text
    name = "cortex_disconnect_to_kv_free_seconds"
    count, total = (
        sum(map(float, re.findall(rf"^{name}_{which}{{.*}} (.+)$", text, re.M)))
        for which in ("count", "sum")
    )
    return count, total


def test_a_client_that_leaves_frees_its_slot(fleet: Fleet) -> None:
    let_go = disconnects(fleet)
    stream = open_stream(fleet)
    next(iter(stream))  # type: ignore[call-overload]
    eventually(lambda: running(fleet) == 1, what="the request runs")

    stream.close()  # type: ignore[attr-defined]

    eventually(lambda: running(fleet) == 0, what="the slot is free")
    eventually(lambda: disconnects(fleet)[0] == let_go[0] + 1, what="it is told how long it took")
    assert disconnects(fleet)[1] > let_go[1]


def test_unload_and_the_next_request_loads_again(fleet: Fleet) -> None:
    answer = fleet.http.post("/admin/unload", json={"model": MODEL})
    assert answer.status_code == 200, answer.text
    eventually(lambda: fleet.model()["status"] == "unloaded")
    assert not fleet.ranks()

    text, _ = read_stream(open_stream(fleet, max_tokens=8))

    assert text
    assert fleet.model()["status"] == "ready"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_both_daemons_in_order_even_while_streaming(
    fleet: Fleet, signum: signal.Signals
) -> None:
    stream = open_stream(fleet)
    next(iter(stream))  # type: ignore[call-overload]
    assert fleet.gateway is not None
    assert fleet.neuron is not None
    family = fleet.gateway.family() + fleet.neuron.family()

    assert fleet.gateway.stop(signum, within_s=10.0) == 0
    assert fleet.neuron.stop(signum, within_s=10.0) == 0

    eventually(lambda: not alive(family), 1.0)
    assert not list(fleet.directory.glob("*-*/*.ipc"))


@pytest.mark.parametrize("victim", ["neuron", "gateway"])
def test_kill_9_of_a_daemon_leaves_no_child_and_the_next_start_works(
    fleet: Fleet, victim: str
) -> None:
    daemon = getattr(fleet, victim)
    children = daemon.family()[1:]
    assert children

    daemon.kill()

    eventually(lambda: not alive(children), 5.0, "every child is gone")
    getattr(fleet, f"start_{victim}")()
    eventually(lambda: answers(fleet), 40.0, "it answers again")


def answers(fleet: Fleet) -> bool:
    import openai

    try:
        return bool(read_stream(open_stream(fleet, max_tokens=4))[0])
    except openai.APIError:
        return False
