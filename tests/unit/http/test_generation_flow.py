"""One generation's rules, against every order of events that a test can think of.

``Driver`` plays daemon, engine and client; the deliberately naive flows at the end show that it
would notice a leaked or doubled lease, a doubled end, and a retry after the client saw text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import Phase as Phase_
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.http.generation_flow import (
    MAX_RETRIES,
    AskEngine,
    AskLease,
    CancelCall,
    Effects,
    Emit,
    GenerationFlow,
    Phase,
    Settle,
)
from transports.schemas.fleet import Lease, LeaseSettled, ModelState
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure, GenerationFigures
from transports.schemas.text_gaps import TextGaps

MOVES = (
    *("leased", "loading", "piece", "done", "failed", "lost", "deadline", "cancel", "drain"),
    *("gap", "busy", "died", "stall"),
)
LIKELY = (*MOVES, "leased", "leased", "piece", "piece", "lost")
TERMINAL = (GenerateDone, Failure)


@dataclass
class Driver:
    """Feeds a flow only what can happen in its phase, and checks what it does."""

    flow: GenerationFlow
    now: float = 0.0
    leases: int = 0
    asked_leases: int = 0
    asked_engines: int = 0
    emitted: list[GenerationEvent] = field(default_factory=list)
    settled: list[LeaseSettled] = field(default_factory=list)
    client_left: bool = False
    told: list[int] = field(default_factory=list)
    sent: int = 0

    def take(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case AskLease():
                    self.asked_leases += 1
                case AskEngine(_, resume):
                    assert list(resume) == self.told, "an engine must go on where the last ended"
                    self.asked_engines += 1
                case Emit(event):
                    assert not self.ended_for_client, "an event after the end"
                    self.emitted.append(event)
                    if isinstance(event, TextDelta):
                        self.told += event.tokens
                case Settle(settled):
                    self.settled.append(settled)
                case CancelCall():
                    pass

    @property
    def ended_for_client(self) -> bool:
        return any(isinstance(event, TERMINAL) for event in self.emitted)

    def move(self, name: str) -> None:
        self.now += 1.0
        if self.flow.phase is Phase.LEASING:
            self._move_leasing(name)
        else:
            self._move_generating(name)
        match name:
            case "failed":
                self.take(self.flow.failed(Failure("step_failed", "no"), self.now))
            case "lost":
                self.take(self.flow.lost("silent", "", self.now))
            case "deadline":
                self.take(self.flow.lost("deadline", "", self.now))
            case "cancel":
                self.client_left = True
                self.take(self.flow.cancel(None, self.now))
            case "drain":
                self.take(self.flow.cancel(Failure("shutting_down", "bye"), self.now))
            case _:
                pass

    def _move_leasing(self, name: str) -> None:
        match name:
            case "leased":
                self.leases += 1
                lease = Lease(self.leases, "tiny", "local", "tcp://x")
                self.take(self.flow.leased(lease, self.now))
            case "loading":
                self.take(self.flow.loading(ModelState("tiny", "starting", progress=0.5)))
            case _:
                pass

    def _move_generating(self, name: str) -> None:
        flow, next_ = self.flow, len(self.told)
        match name:
            case "piece":
                self.sent += 1
                self.take(flow.piece(TextDelta("x", next_, (self.sent,)), self.now))
            case "gap":
                self.take(flow.piece(TextDelta("x", next_ + 1, (0,)), self.now))
            case "done":
                self.take(flow.done(GenerateDone("stop", 3, 4), self.now))
            case "busy":
                self.take(flow.failed(Failure("overloaded", "full", retry_after_s=2.0), self.now))
            case "stall":
                self.now += 4000.0
                self.take(flow.give_up(self.now))
            case "died":
                self.take(flow.failed(Failure("worker_died", "gone"), self.now))
            case _:
                pass


def play(flow: GenerationFlow, moves: list[str]) -> Driver:
    driver = Driver(flow)
    driver.take(flow.begin())
    # Every call ends in the end, so a run always does too.
    for name in [*moves, "failed", "leased", "failed", "failed"]:
        if flow.phase is not Phase.ENDED:
            driver.move(name)
    assert flow.phase is Phase.ENDED
    by_lease = Counter(settled.lease for settled in driver.settled)
    assert by_lease == Counter(range(1, driver.leases + 1))
    assert driver.asked_leases <= 1 + MAX_RETRIES
    told = [event for event in driver.emitted if isinstance(event, TextDelta)]
    assert [delta.index for delta in told] == list(range(len(told)))
    assert sum(isinstance(event, Started) for event in driver.emitted) <= 1
    if not driver.client_left:
        assert driver.ended_for_client, "the client was never told the end"
    return driver


def play_many(make: type[GenerationFlow]) -> None:
    @settings(max_examples=1000, database=None, phases=[Phase_.generate])
    @given(
        st.sampled_from(
            (
                *((), ("leased",), ("leased", "piece"), ("leased", "piece", "lost")),
                ("leased", "lost") * MAX_RETRIES,
            )
        ),
        st.lists(st.sampled_from(LIKELY), max_size=10),
    )
    def run(first: tuple[str, ...], moves: list[str]) -> None:
        play(make("tiny", 0.0, resumable=True), [*first, *moves])

    run()


def test_every_order_of_events_ends_once_and_settles_every_lease_once() -> None:
    play_many(GenerationFlow)


def test_a_good_run_settles_with_what_the_engine_counted() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["leased", "piece", "piece", "done"])
    assert driver.settled == [
        LeaseSettled(
            1,
            "completed",
            prompt_tokens=3,
            completion_tokens=4,
            first_token_s=2.0,
            duration_s=4.0,
            lease_s=1.0,
            gaps=TextGaps((*[0] * 9, 1, *[0] * 4), 1.0),
        )
    ]


def test_an_engine_lost_before_the_first_text_is_replaced_unnoticed() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["leased", "lost", "leased", "piece", "done"])
    assert [settled.outcome for settled in driver.settled] == ["link_lost", "completed"]
    assert not any(isinstance(event, Failure) for event in driver.emitted)


def test_it_is_replaced_only_so_often() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["leased", "lost"] * (MAX_RETRIES + 1))
    last = driver.emitted[-1]
    assert isinstance(last, Failure)
    assert last.code == "link_lost"
    assert driver.asked_leases == 1 + MAX_RETRIES


def test_without_budget_nothing_is_tried_again() -> None:
    flow = GenerationFlow("tiny", 0.0, may_retry=lambda: False)
    assert play(flow, ["leased", "lost"]).asked_leases == 1


def test_a_replica_that_is_full_is_passed_over_and_others_are_not_waited_for() -> None:
    flow = GenerationFlow("tiny", 0.0)
    driver = Driver(flow)
    driver.move("leased")
    full = Failure("overloaded", "full", retry_after_s=9.0)
    effects = flow.failed(full, 1.0)
    assert effects[-1] == AskLease(avoid=("tcp://x",), wait=False)
    (settled,) = [each.settled for each in effects if isinstance(each, Settle)]
    assert (settled.outcome, settled.last, settled.retry_after_s) == ("overloaded", False, 9.0)

    driver.take(flow.failed(Failure("model_unavailable", "no other"), 2.0))
    assert driver.emitted[-1] == full


def test_the_daemon_hears_how_long_a_full_engine_wants_to_be_left_alone() -> None:
    flow = GenerationFlow("tiny", 0.0, may_retry=lambda: False)
    driver = Driver(flow)
    driver.move("leased")
    driver.take(flow.failed(Failure("overloaded", "full", retry_after_s=9.0), 1.0))
    assert [(each.outcome, each.retry_after_s) for each in driver.settled] == [("overloaded", 9.0)]


def test_a_stream_goes_on_elsewhere_after_the_tokens_that_the_client_has() -> None:
    flow = GenerationFlow("tiny", 0.0, resumable=True)
    moves = ["leased", "piece", "piece", "lost", "leased", "piece", "done"]
    driver = play(flow, moves)
    assert driver.told == [1, 2, 3]
    assert isinstance(driver.emitted[-1], GenerateDone)
    assert [settled.outcome for settled in driver.settled] == ["link_lost", "completed"]
    assert [settled.completion_tokens for settled in driver.settled] == [2, 2]
    assert [settled.last for settled in driver.settled] == [False, True]


def test_a_gap_in_the_output_is_an_error_and_not_passed_on() -> None:
    driver = play(GenerationFlow("tiny", 0.0, resumable=True), ["leased", "piece", "gap", "failed"])
    last = driver.emitted[-1]
    assert isinstance(last, Failure)
    assert last.code == "internal"


def test_an_engine_lost_after_the_first_text_of_several_choices_ends_the_stream() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["leased", "piece", "lost"])
    last = driver.emitted[-1]
    assert isinstance(last, Failure)
    assert last.code == "link_lost"
    assert driver.asked_leases == 1


def test_a_deadline_is_never_a_reason_to_begin_again() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["leased", "deadline"])
    last = driver.emitted[-1]
    assert isinstance(last, Failure)
    assert last.code == "deadline_exceeded"


def test_a_deadline_during_a_cold_load_says_that_the_model_still_loads() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["loading", "deadline"])
    last = driver.emitted[-1]
    assert isinstance(last, Failure)
    assert last.code == "model_loading"
    assert "50%" in last.message


def test_a_deadline_during_a_cold_load_says_when_to_come_back() -> None:
    flow = GenerationFlow("tiny", 0.0)
    flow.begin()
    flow.loading(ModelState("tiny", "starting", progress=0.25, eta_s=29.5))
    (told,) = [each.event for each in flow.lost("deadline", "", 9.0) if isinstance(each, Emit)]
    assert isinstance(told, Failure)
    assert (told.code, told.retry_after_s) == ("model_loading", 30.0)


def test_a_lease_that_comes_after_the_client_left_is_given_back() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["cancel", "leased"])
    assert [settled.outcome for settled in driver.settled] == ["cancelled"]
    assert driver.asked_engines == 0


def test_a_cancelled_generation_settles_when_its_engine_lets_go() -> None:
    flow = GenerationFlow("tiny", 0.0)
    driver = Driver(flow)
    for name in ["leased", "piece", "cancel"]:
        driver.move(name)
    assert driver.settled == []
    driver.move("failed")
    assert [(s.outcome, s.completion_tokens) for s in driver.settled] == [("cancelled", 1)]


def test_what_the_engine_counted_of_a_cancelled_text_is_settled() -> None:
    driver = Driver(GenerationFlow("tiny", 0.0))
    for name in ["leased", "piece", "cancel"]:
        driver.move(name)
    figures = GenerationFigures(9, 8, 5, 2, 0.5, 0.25, 1.0)
    driver.take(driver.flow.failed(Failure("cancelled", "gone", figures=figures), 7.0))
    (settled,) = driver.settled
    told = {name: getattr(settled, name) for name in figures.__struct_fields__}
    assert told == msgspec.structs.asdict(figures)
    assert (settled.outcome, settled.cancel_s) == ("cancelled", 4.0)


def test_of_an_engine_that_dies_what_its_pieces_told_is_settled() -> None:
    flow = GenerationFlow("tiny", 0.0)
    driver = Driver(flow)
    driver.move("leased")
    first = TextDelta(
        "", 0, (1, 2), reasoning="x", prompt_tokens=7, cached_tokens=4, reasoning_tokens=2,
        queue_s=0.5, prefill_s=0.25,
    )  # fmt: skip
    driver.take(flow.piece(first, 2.0))
    driver.take(flow.piece(TextDelta("y", 2, (3,)), 5.0))
    assert flow.times.decode_s == 3.0
    driver.take(flow.failed(Failure("worker_died", "gone"), 6.0))
    (settled,) = driver.settled
    assert (settled.prompt_tokens, settled.cached_tokens) == (7, 4)
    assert (settled.completion_tokens, settled.reasoning_tokens) == (3, 2)
    assert (settled.queue_s, settled.prefill_s, settled.decode_s) == (0.5, 0.25, 3.0)


def test_gaps_are_told_with_the_lease_that_they_belong_to() -> None:
    moves = ["leased", "piece", "piece", "lost", "leased", "piece", "done"]
    driver = play(GenerationFlow("tiny", 0.0, resumable=True), moves)
    assert [settled.gaps and settled.gaps.total_s for settled in driver.settled] == [1.0, 3.0]


def test_a_drained_client_is_told_why() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["leased", "piece", "drain", "piece", "failed"])
    assert isinstance(driver.emitted[-1], Failure)
    assert driver.emitted[-1].code == "shutting_down"


class ForgetsTheLeaseOfAnAbandonedRequest(GenerationFlow):  # type: ignore[misc]
    def leased(self, lease: Lease, now: float) -> Effects:
        effects = super().leased(lease, now)
        return () if self.phase is Phase.ENDED else effects


class SettlesAgainOnCancel(GenerationFlow):  # type: ignore[misc]
    def cancel(self, failure: Failure | None, now: float) -> Effects:
        settled = tuple(
            Settle(LeaseSettled(1, "cancelled")) for _ in range(self._lease is not None)
        )
        return (*super().cancel(failure, now), *settled)


class TellsTheEndTwice(GenerationFlow):  # type: ignore[misc]
    def _emit(self, event: GenerationEvent) -> Effects:
        return (Emit(event),)


class BeginsAnewAfterText(GenerationFlow):  # type: ignore[misc]
    def _go_elsewhere(self, failure: Failure, now: float) -> Effects:
        self._output.clear()
        return super()._go_elsewhere(failure, now)


class PassesGapsOn(GenerationFlow):  # type: ignore[misc]
    def piece(self, delta: TextDelta, now: float) -> Effects:
        self._next[delta.choice] = delta.index
        return super().piece(delta, now)


class TriesForEver(GenerationFlow):  # type: ignore[misc]
    def _may_go_elsewhere(self, code: str) -> bool:
        return self.phase is Phase.GENERATING and not self._cancelled


class NeverTellsTheEnd(GenerationFlow):  # type: ignore[misc]
    def lost(self, reason: str, detail: str, now: float) -> Effects:
        effects = super().lost(reason, detail, now)
        return tuple(effect for effect in effects if not isinstance(effect, Emit))


@pytest.mark.parametrize(
    "mutant",
    [
        ForgetsTheLeaseOfAnAbandonedRequest,
        SettlesAgainOnCancel,
        TellsTheEndTwice,
        BeginsAnewAfterText,
        PassesGapsOn,
        TriesForEver,
        NeverTellsTheEnd,
    ],
)
def test_the_driver_catches_a_naive_flow(mutant: type[GenerationFlow]) -> None:
    with pytest.raises(AssertionError):
        play_many(mutant)
