from __future__ import annotations

import threading
from typing import Any

import pykka
import pytest

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.asking import Future
from cortex_actors.kit.errors import (
    ActorCrashed,
    ActorDead,
    AskTimeout,
    ExpectedError,
    MailboxFull,
    UnhandledMessage,
)
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.reasons import FENCED, NORMAL, SHUTDOWN, ExitKind, ExitReason
from tests.eventually import eventually
from tests.unit.kit.actors import SOON_S, Actor, Diary, Do, Echo, Gate, Raise, hold
from tests.unit.kit.conftest import Start


class Loud(Echo):
    """A subclass of a handled message."""


class Shouter(Actor):
    def echo(self, message: Echo) -> Any:
        return str(message.value).upper()


class Listener(Actor):
    def receive(self, message: object) -> Any:
        return f"heard {message}"


class Broken(Actor):
    def on_start(self) -> Future[Any] | None:
        raise SystemExit("no device")


class ReadyLater(Actor):
    def __init__(self, readiness: Future[Any], diary: Diary | None = None) -> None:
        super().__init__(diary)
        self.readiness = readiness

    def on_start(self) -> Future[Any] | None:
        return self.readiness


class BadStop(Actor):
    def on_stop(self, reason: ExitReason) -> None:
        raise OSError("disk")


class TakesItsTime(Actor):
    def on_stop_request(self, reason: ExitReason) -> None:
        self.diary.entries.append("stopping")
        self.tell_later(0.0, Do(lambda actor: actor.leave(reason)))


def test_the_handler_is_chosen_by_message_type_and_its_bases(start: Start) -> None:
    ref = start()
    assert ref.ask(Echo(1), SOON_S) == 1
    assert ref.ask(Loud(2), SOON_S) == 2


def test_a_subclass_overrides_a_handler_by_name(start: Start) -> None:
    assert start(Shouter).ask(Echo("hi"), SOON_S) == "HI"


def test_receive_gets_what_no_handler_is_marked_for(start: Start) -> None:
    assert start(Listener).ask("news", SOON_S) == "heard news"


def test_a_message_without_handler_is_refused_and_the_actor_lives(start: Start) -> None:
    ref = start()
    ref.tell("what?")
    with pytest.raises(UnhandledMessage, match="actor has no handler for str"):
        ref.ask("what?", SOON_S)
    assert ref.ask(Echo(1), SOON_S) == 1


def test_an_expected_error_is_an_answer(start: Start) -> None:
    ref = start()
    with pytest.raises(ExpectedError, match="not today"):
        ref.ask(Raise(ExpectedError("not today")), SOON_S)
    ref.tell(Raise(ExpectedError("not today either")))
    assert ref.ask(Echo(1), SOON_S) == 1


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3), KeyboardInterrupt()])
def test_a_crash_ends_this_actor_only_and_answers_the_asker(
    start: Start, error: BaseException
) -> None:
    diary = Diary()
    ref, other = start(Actor, diary), start()
    plain = pykka.ThreadingActor.start()
    with pytest.raises(ActorCrashed) as caught:
        ref.ask(Raise(error), SOON_S)
    assert caught.value.__cause__ is error
    assert not ref.alive
    reason = ref.exit.get(timeout=SOON_S)
    assert reason == ExitReason.raised(error)
    assert reason.abnormal
    assert diary.entries == ["start", ("stop", str(reason))]
    assert other.ask(Echo(1), SOON_S) == 1
    assert plain.is_alive()
    plain.stop()


def test_a_crash_on_a_tell_ends_the_actor(start: Start) -> None:
    ref = start()
    ref.tell(Raise(ValueError("boom")))
    assert ref.exit.get(timeout=SOON_S) == ExitReason.crash("ValueError", "boom")


def test_a_crash_answers_everyone_who_waits_behind_it(start: Start) -> None:
    ref = start()
    gate = hold(ref)
    ref.tell(Raise(ValueError("boom")))
    waiting = [ref.ask_async(Echo(n), SOON_S) for n in range(3)]
    gate.opened.set()
    for future in waiting:
        with pytest.raises(ActorDead, match="boom"):
            future.get(timeout=SOON_S)


def test_a_failed_on_start_is_a_crash_of_its_own_kind(start: Start) -> None:
    diary = Diary()
    ref = start(Broken, diary)
    assert ref.exit.get(timeout=SOON_S) == ExitReason(ExitKind.INIT_FAILED, "SystemExit: no device")
    assert diary.entries == []
    with pytest.raises(ActorDead, match="no device"):
        ref.ready.get(timeout=SOON_S)
    with pytest.raises(ActorDead):
        ref.ask(Echo(1), SOON_S)


def test_an_actor_may_become_ready_later_and_answers_meanwhile(start: Start) -> None:
    readiness: Future[Any] = Future()
    ref = start(ReadyLater, readiness)
    assert ref.ask(Echo(1), SOON_S) == 1
    assert ref.state == "starting"
    readiness.resolve(None)
    assert ref.ready.wait(SOON_S)
    assert ref.state == "running"


def test_readiness_that_fails_is_init_failed(start: Start) -> None:
    readiness: Future[Any] = Future()
    ref = start(ReadyLater, readiness)
    readiness.fail(OSError("port in use"))
    assert ref.exit.get(timeout=SOON_S).kind is ExitKind.INIT_FAILED


def test_stop_does_not_wait_behind_the_backlog(start: Start) -> None:
    diary = Diary()
    ref = start(Actor, diary)
    gate = hold(ref)
    for n in range(100):
        ref.tell(Echo(n))
    waiting = ref.ask_async(Echo("late"), SOON_S)
    ref.stop()
    gate.opened.set()
    assert ref.exit.get(timeout=SOON_S) == SHUTDOWN
    assert diary.entries == ["start", ("stop", "shutdown")]
    with pytest.raises(ActorDead):
        waiting.get(timeout=SOON_S)
    with pytest.raises(ActorDead):
        ref.tell(Echo(1))


def test_stopping_twice_or_after_the_end_is_harmless(start: Start) -> None:
    ref = start()
    ref.stop()
    ref.stop()
    assert ref.exit.wait(SOON_S)
    ref.stop()


def test_leave_ends_it_after_the_handler_which_still_answers(start: Start) -> None:
    ref = start()
    assert ref.ask(Do(lambda actor: actor.leave() or "bye"), SOON_S) == "bye"
    assert ref.exit.get(timeout=SOON_S) == NORMAL


def test_an_actor_that_leaves_in_on_start_ends(start: Start) -> None:
    class Brief(SupervisedActor):
        def on_start(self) -> None:
            self.leave()

    assert start(Brief).exit.get(timeout=SOON_S) == NORMAL


def test_an_actor_may_take_its_time_to_stop(start: Start) -> None:
    diary = Diary()
    ref = start(TakesItsTime, diary)
    ref.stop()
    assert ref.exit.get(timeout=SOON_S) == SHUTDOWN
    assert diary.entries == ["start", "stopping", ("stop", "shutdown")]


def test_a_failing_on_stop_makes_an_orderly_end_a_crash(start: Start) -> None:
    ref = start(BadStop)
    ref.stop()
    assert ref.exit.get(timeout=SOON_S) == ExitReason.crash("OSError", "disk")


def test_pykkas_own_reference_works_too(start: Start) -> None:
    own: pykka.ActorRef[Actor] = start().ask(Do(lambda actor: actor.actor_ref), SOON_S)
    assert own.ask(Echo(7)) == 7
    assert own.is_alive()
    assert own.stop(block=True, timeout=SOON_S)
    assert own.actor_stopped.wait(SOON_S)


def test_actors_are_hidden_from_pykkas_stop_all(start: Start) -> None:
    ref = start()
    pykka.ActorRegistry.stop_all()
    assert ref.ask(Echo(1), SOON_S) == 1


def test_a_full_mailbox_refuses_at_once_and_control_still_gets_in(start: Start) -> None:
    class Small(Actor):
        mailbox_limit = 2

    diary = Diary()
    ref = start(Small, diary)
    gate = hold(ref)
    ref.tell(Echo(1))
    ref.tell(Echo(2))
    with pytest.raises(MailboxFull, match=r"actor is full \(2 messages\)"):
        ref.tell(Echo(3))
    with pytest.raises(MailboxFull):
        ref.ask(Echo(3), SOON_S)
    assert isinstance(ref.ask_async(Echo(3), SOON_S).error, MailboxFull)
    ref.tell_control(Echo("first"))
    assert ref.mailbox == 3
    gate.opened.set()
    eventually(lambda: diary.entries == ["start", "first", 1, 2])


def test_an_ask_has_a_deadline_and_the_late_answer_is_nobodys(start: Start) -> None:
    ref = start()
    gate = hold(ref)
    with pytest.raises(AskTimeout, match=r"actor did not answer Echo within 0\.01 s"):
        ref.ask(Echo(1), 0.01)
    late = ref.ask_async(Echo(2), 0.01)
    with pytest.raises(AskTimeout):
        late.get(timeout=SOON_S)
    gate.opened.set()
    assert ref.ask(Echo(3), SOON_S) == 3
    assert isinstance(late.error, AskTimeout)


def test_a_question_nobody_waits_for_is_not_worked_on(start: Start) -> None:
    diary = Diary()
    ref = start(Actor, diary)
    gate = hold(ref)
    with pytest.raises(AskTimeout):
        ref.ask(Echo("expired"), 0.0)
    gate.opened.set()
    ref.ask(Echo("current"), SOON_S)
    assert diary.entries == ["start", "current"]


def test_an_answer_may_be_deferred_without_blocking_the_actor(start: Start) -> None:
    ref = start()
    answer: Future[str] = Future()
    asked = ref.ask_async(Do(lambda _: answer), SOON_S)
    assert ref.ask(Echo(1), SOON_S) == 1
    assert not asked.done
    answer.resolve("loaded")
    assert asked.get(timeout=SOON_S) == "loaded"
    assert ref._cell.owed == set()


def test_a_deferred_answer_may_be_an_error_and_the_actor_lives(start: Start) -> None:
    ref = start()
    answer: Future[str] = Future()
    asked = ref.ask_async(Do(lambda _: answer), SOON_S)
    answer.fail(ExpectedError("no room"))
    with pytest.raises(ExpectedError, match="no room"):
        asked.get(timeout=SOON_S)
    assert ref.alive


def test_death_resolves_deferred_answers(start: Start) -> None:
    ref = start()
    asked = ref.ask_async(Do(lambda _: Future()), SOON_S)
    ref.ask(Echo(1), SOON_S)
    ref.stop()
    with pytest.raises(ActorDead, match="shutdown"):
        asked.get(timeout=SOON_S)


def test_when_done_runs_on_the_actors_thread(start: Start) -> None:
    ref, other = start(), start(name="other")
    seen: Future[tuple[int, str]] = Future()

    def forward(actor: SupervisedActor) -> None:
        def then(answer: Future[int]) -> None:
            seen.resolve((answer.result(), threading.current_thread().name))

        actor.when_done(other.ask_async(Echo(5), SOON_S), then)

    ref.tell(Do(forward))
    assert seen.get(timeout=SOON_S) == (5, f"actor#{ref.inc}")


def test_a_fenced_actor_is_dead_to_everyone_though_its_thread_is_stuck(start: Start) -> None:
    diary = Diary()
    ref = start(Actor, diary)
    gate = Gate()
    stuck = ref.ask_async(Do(gate.hold), SOON_S)
    assert gate.entered.wait(SOON_S)
    waiting = ref.ask_async(Echo(1), SOON_S)
    assert ref.fence()
    assert not ref.fence()
    for future in (stuck, waiting):
        assert isinstance(future.error, ActorDead)
    assert ref.exit.result() == FENCED
    assert ref.state == "stopped"
    gate.opened.set()
    cleaned = ("stop", "fenced")
    eventually(lambda: cleaned in diary.entries)
    assert ref.exit.result() == FENCED


def test_a_reference_shows_the_actor(start: Start) -> None:
    ref = start(name="router")
    ref.ask(Echo(1), SOON_S)
    assert repr(ref) == f"<ActorRef router#{ref.inc} running>"
    assert (ref.kind, ref.handled, ref.summary()) == ("Actor", 1, "2 entries")
    ref.require_alive()
    ref.stop()
    assert ref.exit.wait(SOON_S)
    with pytest.raises(ActorDead, match="router"):
        ref.require_alive()


def test_a_failing_summary_harms_nobody(start: Start) -> None:
    class Vague(Actor):
        def summary(self) -> str:
            raise KeyError("torn read")

    assert "torn read" in start(Vague).summary()


def test_incarnations_are_never_reused(start: Start) -> None:
    incs = [start().inc for _ in range(5)]
    assert incs == sorted(set(incs))


def test_a_handler_may_be_marked_for_a_type_again_in_a_subclass(start: Start) -> None:
    class Renamed(Actor):
        @handles(Echo)
        def other(self, message: Echo) -> str:
            return f"other {message.value}"

    assert start(Renamed).ask(Echo(1), SOON_S) == "other 1"
