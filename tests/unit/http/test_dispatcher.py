"""The dispatcher over real links to a scripted daemon and engine in this process."""

from __future__ import annotations

import queue
import select
from collections.abc import Iterator

import msgspec
import pytest

from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.http.backend import BackendError, Generation
from cortex_actors.http.dispatcher import Dispatcher
from cortex_actors.http.progress_watch import Deadlines
from tests.eventually import eventually
from tests.http.scripted_fleet import (
    MODEL,
    ScriptedFleet,
    say,
    say_hello,
    say_nothing,
    scripted_fleet,
)
from tests.http.server_process import short_folder
from transports.link import IncomingRequest
from transports.schemas import fleet as bodies
from transports.schemas.generate import Embed, Generate, GenerateDone, StillRunning, TextDelta
from transports.schemas.link import Failure

QUESTION = Generate("req-1", "tiny", [{"role": "user", "content": "Hi"}])
DONE = GenerateDone("stop", prompt_tokens=5, completion_tokens=2, pieces=2)


@pytest.fixture
def fleet() -> Iterator[ScriptedFleet]:
    with short_folder() as folder, scripted_fleet(folder) as fleet_:
        yield fleet_


@pytest.fixture
def dispatcher(fleet: ScriptedFleet) -> Iterator[Dispatcher]:
    dispatcher_ = Dispatcher(fleet.endpoint, "neuron", slots=3)
    dispatcher_.start()
    eventually(lambda: dispatcher_.service is not None)
    yield dispatcher_
    dispatcher_.close()


def read(generation: Generation) -> list[GenerationEvent]:
    """Read to the end, as a request's thread does."""
    events: list[GenerationEvent] = []
    while not events or not isinstance(events[-1], GenerateDone | Failure):
        assert select.select([generation], [], [], 5.0)[0], f"nothing came after {events}"
        events += generation.take()
    generation.close()
    return events


def read_late(generation: Generation) -> list[GenerationEvent]:
    """Read to the end, looking now and then though nothing has come."""
    events: list[GenerationEvent] = []

    def at_the_end() -> bool:
        events.extend(generation.take())
        return bool(events) and isinstance(events[-1], GenerateDone | Failure)

    eventually(at_the_end)
    generation.close()
    return events


@pytest.mark.parametrize(
    ("question", "task"), [(QUESTION, "generate"), (Embed("req-1", "tiny", ("Hi",)), "embed")]
)
def test_the_daemon_is_told_what_the_model_must_do(
    fleet: ScriptedFleet, dispatcher: Dispatcher, question: Generate | Embed, task: str
) -> None:
    asked: queue.SimpleQueue[bodies.LeaseRequest] = queue.SimpleQueue()

    def refuse(request: IncomingRequest) -> None:
        assert isinstance(request.body, bodies.LeaseRequest)
        asked.put(request.body)
        request.fail(Failure("invalid_request", "no"))

    fleet.daemon.on_lease = refuse
    read(dispatcher.generate(question))
    assert asked.get(timeout=5.0).task == task


def text(events: list[GenerationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def failure_of(events: list[GenerationEvent]) -> Failure:
    assert isinstance(events[-1], Failure)
    return events[-1]


def test_a_generation_is_leased_streamed_and_settled(
    fleet: ScriptedFleet, dispatcher: Dispatcher
) -> None:
    events = read(dispatcher.generate(QUESTION))
    assert events[0] == Started(MODEL, "local")
    assert text(events) == "Hello"
    assert events[-1] == DONE
    settled = fleet.daemon.settled.get(timeout=5.0)
    assert (settled.lease, settled.outcome) == (1, "completed")
    assert (settled.prompt_tokens, settled.completion_tokens) == (5, 2)
    assert 0 < settled.first_token_s <= settled.duration_s


def test_a_kept_lease_serves_the_next_request_and_both_are_told(
    fleet: ScriptedFleet, dispatcher: Dispatcher
) -> None:
    fleet.daemon.keep_s = 60.0
    for request in ("req-1", "req-2", "req-3"):
        # Before a lease that nobody wants is given back.
        generation = dispatcher.generate(msgspec.structs.replace(QUESTION, request_id=request))
        assert text(read(generation)) == "Hello"
    settled = [fleet.daemon.settled.get(timeout=5.0) for _ in range(3)]
    assert [each.outcome for each in settled] == ["completed"] * 3
    ended = [each for each in settled if not each.kept]
    first = [each for each in settled if not each.request_id]
    assert len(ended) == len(first) == fleet.daemon.leases


def test_what_is_kept_is_told_before_we_leave(fleet: ScriptedFleet) -> None:
    fleet.daemon.keep_s = 60.0
    dispatcher_ = Dispatcher(fleet.endpoint, "neuron", slots=3)
    dispatcher_.start()
    eventually(lambda: dispatcher_.service is not None)
    read(dispatcher_.generate(QUESTION))
    dispatcher_.close()
    assert fleet.daemon.settled.get(timeout=5.0).outcome == "completed"


def test_a_refused_lease_is_the_generations_end(dispatcher: Dispatcher) -> None:
    question = Generate("req-1", "nope", [])
    assert failure_of(read(dispatcher.generate(question))).code == "model_not_found"


def test_a_closed_generation_cancels_at_the_engine_and_settles(
    fleet: ScriptedFleet, dispatcher: Dispatcher
) -> None:
    fleet.engine.on_generate = say_nothing
    generation = dispatcher.generate(QUESTION)
    fleet.engine.asked.get(timeout=5.0)
    generation.close()
    assert fleet.engine.cancelled.get(timeout=5.0) == "client_gone"
    assert fleet.daemon.settled.get(timeout=5.0).outcome == "cancelled"


def test_a_generation_closed_while_it_waits_for_its_lease_cancels_there(
    fleet: ScriptedFleet, dispatcher: Dispatcher
) -> None:
    cancelled: list[str] = []

    def park(request: IncomingRequest) -> None:
        request.on_cancel(cancelled.append)

    fleet.daemon.on_lease = park
    generation = dispatcher.generate(QUESTION)
    assert fleet.daemon.lease_asked.wait(5.0)
    generation.close()
    eventually(lambda: cancelled == ["client_gone"])


def test_progress_of_a_cold_load_is_passed_on(fleet: ScriptedFleet, dispatcher: Dispatcher) -> None:
    def load(request: IncomingRequest) -> None:
        request.progress(bodies.ModelState(MODEL, "starting", progress=0.5))
        fleet.daemon.grant(request)

    fleet.daemon.on_lease = load
    events = read(dispatcher.generate(QUESTION))
    assert isinstance(events[0], bodies.ModelState)
    assert text(events) == "Hello"


def test_an_engine_that_is_not_there_is_replaced_through_a_second_lease(
    fleet: ScriptedFleet, dispatcher: Dispatcher
) -> None:
    engine, fleet.daemon.engine_endpoint = fleet.daemon.engine_endpoint, "nonsense://x"

    def grant(request: IncomingRequest) -> None:
        fleet.daemon.grant(request)
        fleet.daemon.engine_endpoint = engine

    fleet.daemon.on_lease = grant
    assert text(read(dispatcher.generate(QUESTION))) == "Hello"
    outcomes = [fleet.daemon.settled.get(timeout=5.0).outcome for _ in range(2)]
    assert outcomes == ["link_lost", "completed"]


def test_an_engine_lost_after_the_first_text_ends_the_generation(
    fleet: ScriptedFleet, dispatcher: Dispatcher
) -> None:
    def start_to_say(request: IncomingRequest) -> None:
        say(request, 0, "Hel")

    fleet.engine.on_generate = start_to_say
    generation = dispatcher.generate(QUESTION)
    fleet.engine.asked.get(timeout=5.0)
    fleet.lose_engine_links()
    events = read(generation)
    assert text(events) == "Hel"
    assert failure_of(events).code == "link_lost"
    assert fleet.daemon.settled.get(timeout=5.0).outcome == "link_lost"


def test_a_deadline_ends_the_generation(fleet: ScriptedFleet) -> None:
    fleet.engine.on_generate = say_nothing
    hasty = Dispatcher(fleet.endpoint, "neuron", slots=1, deadlines=Deadlines(5.0, 0.2))
    hasty.start()
    eventually(lambda: hasty.connected)
    assert failure_of(read_late(hasty.generate(QUESTION))).code == "deadline_exceeded"
    assert fleet.engine.cancelled.get(timeout=5.0) == "deadline_exceeded"
    assert fleet.daemon.settled.get(timeout=5.0).outcome == "deadline_exceeded"
    hasty.close()


def test_an_engine_that_says_that_a_text_goes_on_puts_the_stall_off(fleet: ScriptedFleet) -> None:
    asked: queue.SimpleQueue[IncomingRequest] = queue.SimpleQueue()

    def begin(request: IncomingRequest) -> None:
        say(request, 0, "Hel")
        asked.put(request)

    fleet.engine.on_generate = begin
    dispatcher = Dispatcher(fleet.endpoint, "neuron", slots=1)
    dispatcher.start()
    eventually(lambda: dispatcher.connected)
    generation = dispatcher.generate(QUESTION)
    watch = generation._flow.watch
    eventually(lambda: any(isinstance(event, TextDelta) for event in generation.take()))
    due = -watch.overdue_s(0.0)
    asked.get(timeout=5.0).progress(StillRunning())
    eventually(lambda: -watch.overdue_s(0.0) > due)
    generation.close()
    dispatcher.close()


def test_a_stream_that_stalls_ends_with_a_timeout_and_its_engine_is_told_of_no_end(
    fleet: ScriptedFleet,
) -> None:
    budgets: list[float | None] = []

    def stall(request: IncomingRequest) -> None:
        budgets.append(request.deadline)
        say(request, 0, "Hel")

    fleet.engine.on_generate = stall
    hasty = Dispatcher(fleet.endpoint, "neuron", slots=1, deadlines=Deadlines(stall_s=0.2))
    hasty.start()
    eventually(lambda: hasty.connected)
    events = read_late(hasty.generate(QUESTION))
    assert text(events) == "Hel"
    assert failure_of(events).message == "the model's engine made no progress for 0.2 s"
    assert fleet.engine.cancelled.get(timeout=5.0) == "deadline_exceeded"
    assert fleet.daemon.settled.get(timeout=5.0).completion_tokens == 1
    assert budgets == [None]
    hasty.close()


def test_no_slot_is_an_immediate_refusal_and_slots_come_back(
    fleet: ScriptedFleet, dispatcher: Dispatcher
) -> None:
    fleet.engine.on_generate = say_nothing
    held = [dispatcher.generate(QUESTION) for _ in range(3)]
    with pytest.raises(BackendError) as caught:
        dispatcher.generate(QUESTION)
    assert caught.value.failure.code == "overloaded"
    with pytest.raises(BackendError):
        dispatcher.ask(bodies.QueryMetrics(), 1.0)
    for generation in held:
        generation.close()
        generation.close()
    fleet.engine.on_generate = say_hello
    assert text(read(dispatcher.generate(QUESTION))) == "Hello"


def test_one_key_cannot_take_all_slots_and_the_daemon_hears_whose_requests_wait(
    fleet: ScriptedFleet,
) -> None:
    fleet.engine.on_generate = say_nothing
    asked: queue.SimpleQueue[bodies.LeaseRequest] = queue.SimpleQueue()

    def grant(request: IncomingRequest) -> None:
        assert isinstance(request.body, bodies.LeaseRequest)
        asked.put(request.body)
        fleet.daemon.grant(request)

    fleet.daemon.on_lease = grant
    dispatcher = Dispatcher(fleet.endpoint, "neuron", slots=9, keys=True)
    dispatcher.start()
    eventually(lambda: dispatcher.connected)
    greedy = msgspec.structs.replace(QUESTION, principal="greedy")
    held = [dispatcher.generate(greedy) for _ in range(8)]
    with pytest.raises(BackendError) as caught:
        dispatcher.generate(greedy)
    assert caught.value.failure.code == "overloaded"
    held.append(dispatcher.generate(msgspec.structs.replace(QUESTION, principal="modest")))
    names = {each.principal for each in (asked.get(timeout=5.0) for _ in held)}
    assert names == {"greedy", "modest"}
    for generation in held:
        generation.close()
    dispatcher.close()


def test_draining_ends_what_runs_after_the_grace_and_refuses_the_rest(
    fleet: ScriptedFleet, dispatcher: Dispatcher
) -> None:
    fleet.engine.on_generate = say_nothing
    generation = dispatcher.generate(QUESTION)
    fleet.engine.asked.get(timeout=5.0)
    dispatcher.drain(0.0)
    assert failure_of(read(generation)).code == "shutting_down"
    assert failure_of(read(dispatcher.generate(QUESTION))).code == "shutting_down"


def test_questions_get_their_answers_and_failures(dispatcher: Dispatcher) -> None:
    assert dispatcher.ask(bodies.QueryMetrics(), 5.0) == bodies.MetricsText("up 1\n", "text/plain")
    with pytest.raises(BackendError) as caught:
        dispatcher.ask(bodies.QueryActors(), 5.0)
    assert caught.value.failure.message == "unknown question"


def test_without_a_daemon_everything_says_so_at_once() -> None:
    with short_folder() as folder:
        alone = Dispatcher(f"ipc://{folder}/nobody", "neuron", slots=2)
        alone.start()
        assert failure_of(read(alone.generate(QUESTION))).code == "model_unavailable"
        with pytest.raises(BackendError):
            alone.ask(bodies.QueryMetrics(), 5.0)
        assert not alone.connected
        alone.close()


def test_a_daemon_that_comes_back_is_found_again() -> None:
    with short_folder() as folder:
        dispatcher = Dispatcher(f"ipc://{folder}/d", "neuron", slots=2)
        dispatcher.start()
        for _ in range(2):
            with scripted_fleet(folder):
                eventually(lambda: dispatcher.connected)
                eventually(lambda: dispatcher.service is not None)
                assert text(read(dispatcher.generate(QUESTION))) == "Hello"
            eventually(lambda: not dispatcher.connected)
        assert dispatcher.service is not None
        dispatcher.close()
