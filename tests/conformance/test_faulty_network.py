"""Links over a network that drops, repeats, delays, reorders and cuts, by seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance.networks import CALM, ProxyHarness
from tests.conformance.recorder import Events, Recorder
from transports.errors import Backpressure, LinkDown
from transports.link import Completed, IncomingRequest, LinkState, Lost
from transports.liveness import LivenessPolicy
from transports.proxy import Direction, Faults
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.group import Step, StepDone

HASTY = LivenessPolicy(ping_s=0.05, suspect_s=0.2, down_s=0.5, busy_exempt=False)
CALLS = 60
PIECES = 5


@contextmanager
def faulty(
    seed: int, faults: Faults, liveness: LivenessPolicy = CALM
) -> Iterator[tuple[ProxyHarness, Recorder, Recorder]]:
    network = ProxyHarness(seed, faults, liveness)
    try:
        server, client = Recorder(answer), Recorder(answer)
        network.listen(server)
        network.connect(client)
        network.until(lambda: client.is_up and server.is_up)
        yield network, server, client
    finally:
        network.close()


def answer(request: IncomingRequest) -> None:
    """Stream the question's own number, then answer with it: a crossed answer would show.

    Every other answer is a text's end, which must not hide that some of the text is missing; of
    those every other brings the last piece itself.
    """
    assert isinstance(request.body, Step)
    number = request.body.step
    *pieces, last = (TextDelta(f"{number}.", index) for index in range(PIECES))
    brings_last = number % 4 == 0
    try:
        for piece in pieces if brings_last else (*pieces, last):
            request.link.publish([(request, piece)])
    except (LinkDown, Backpressure):
        return
    done = GenerateDone("stop", number, 0, last=(last,) if brings_last else ())
    request.complete(StepDone(number, 0) if number % 4 > 1 else done)


def check_history(number: int, events: Events) -> None:
    """One terminal event, last; nothing of another call; no hole in the stream."""
    assert len(events.terminals) == 1
    assert events.seen[-1] is events.terminals[0]
    assert events.indexes == list(range(len(events.indexes)))
    assert events.text == f"{number}." * len(events.indexes)
    if not isinstance(events.terminals[0], Completed):
        return
    match events.terminals[0].body:
        case GenerateDone(prompt_tokens=told):
            assert told == number
            assert len(events.indexes) == PIECES
        case body:
            assert body == StepDone(number, 0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(Faults(drop=0.2), id="drop"),
        pytest.param(Faults(duplicate=0.3), id="duplicate"),
        pytest.param(Faults(delay=0.3), id="delay"),
        pytest.param(Faults(reorder=0.2, delay_s=0.005), id="reorder"),
        pytest.param(Faults(drop=0.1, duplicate=0.2, delay=0.2, reorder=0.1), id="all"),
    ],
)
def test_every_call_ends_once_and_with_nothing_of_another(seed: int, faults: Faults) -> None:
    with faulty(seed, faults) as (network, server, client):
        calls = [Events() for _ in range(2 * CALLS)]
        for number, events in enumerate(calls):
            asker = client if number % 2 else server
            asker.link.request(Step(number, ()), events, deadline_s=0.5)
        network.until(lambda: all(events.is_over for events in calls))
    for number, events in enumerate(calls):
        check_history(number, events)


def test_faults_that_lose_nothing_cost_no_answer() -> None:
    with faulty(1, Faults(duplicate=0.5, delay=0.5)) as (network, _, client):
        calls = [Events() for _ in range(CALLS)]
        for number, events in enumerate(calls):
            client.link.request(Step(number, ()), events, deadline_s=30.0)
        network.until(lambda: all(events.is_over for events in calls))
    assert all(isinstance(events.terminals[0], Completed) for events in calls)


def test_missing_message_makes_the_link_suspect_but_keeps_it() -> None:
    with faulty(3, Faults(drop=0.3)) as (network, server, client):
        for number in range(CALLS):
            client.link.note(Step(number, ()))
        network.until(lambda: bool(server.suspected))
        assert server.link.state is not LinkState.DOWN
        assert network.server.counters.lost > 0


def test_partition_is_found_out_by_both_ends_and_ends_the_calls() -> None:
    with faulty(1, Faults(), HASTY) as (network, server, client):
        assert network.proxy is not None
        network.proxy.partition()
        events = Events()
        client.link.request(Step(1, ()), events, deadline_s=30.0)
        network.until(lambda: client.is_down and server.is_down)
        assert client.suspected
        assert client.downs[0][0] == server.downs[0][0] == "silent"
        (event,) = events.seen
        assert isinstance(event, Lost)
        assert event.reason == "link_down"


@pytest.mark.parametrize("direction", Direction)
def test_half_closed_connection_ends_at_both_ends(direction: Direction) -> None:
    with faulty(1, Faults(), HASTY) as (network, server, client):
        assert network.proxy is not None
        network.proxy.half_close(direction)
        network.until(lambda: client.is_down and server.is_down)
        assert "silent" in {client.downs[0][0], server.downs[0][0]}


def test_short_partition_is_survived() -> None:
    patient = LivenessPolicy(ping_s=0.05, suspect_s=0.2, down_s=30.0, busy_exempt=False)
    with faulty(1, Faults(), patient) as (network, server, client):
        assert network.proxy is not None
        network.proxy.partition()
        network.until(lambda: bool(client.suspected and server.suspected))
        network.proxy.heal()
        network.until(lambda: client.link.state is server.link.state is LinkState.UP)
        events = Events()
        client.link.request(Step(5, ()), events, deadline_s=30.0)
        network.until(lambda: events.is_over)
        check_history(5, events)
        assert isinstance(events.terminals[0], Completed)
