"""One generation's rules, against every order of events that a test can think of.

``Driver`` plays daemon, engine and client; the deliberately naive flows at the end show that it
would notice a leaked or doubled lease, a doubled end, and a retry after the client saw text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.http.generation_flow import (
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
from transports.schemas.link import Failure

MOVES = ("leased", "loading", "piece", "done", "failed", "lost", "deadline", "cancel", "drain")
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

    def take(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case AskLease():
                    self.asked_leases += 1
                case AskEngine():
                    assert not any(isinstance(event, TextDelta) for event in self.emitted)
                    self.asked_engines += 1
                case Emit(event):
                    assert not self.ended_for_client, "an event after the end"
                    self.emitted.append(event)
                case Settle(settled):
                    self.settled.append(settled)
                case CancelCall():
                    pass

    @property
    def ended_for_client(self) -> bool:
        return any(isinstance(event, TERMINAL) for event in self.emitted)

    def move(self, name: str) -> None:
        self.now += 1.0
        flow, leasing = self.flow, self.flow.phase is Phase.LEASING
        match name:
            case "leased" if leasing:
                self.leases += 1
                self.take(flow.leased(Lease(self.leases, "tiny", "local", "tcp://x"), self.now))
            case "loading" if leasing:
                self.take(flow.loading(ModelState("tiny", "starting", progress=0.5)))
            case "piece" if not leasing:
                self.take(flow.piece(TextDelta("x", 0, (1,)), self.now))
            case "done" if not leasing:
                self.take(flow.done(GenerateDone("stop", 3, 4), self.now))
            case "failed":
                self.take(flow.failed(Failure("step_failed", "no"), self.now))
            case "lost":
                self.take(flow.lost("silent", "", self.now))
            case "deadline":
                self.take(flow.lost("deadline", "", self.now))
            case "cancel":
                self.client_left = True
                self.take(flow.cancel(None))
            case "drain":
                self.take(flow.cancel(Failure("shutting_down", "bye")))
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
    assert driver.asked_leases <= 2
    assert sum(isinstance(event, Started) for event in driver.emitted) <= 1
    if not driver.client_left:
        assert driver.ended_for_client, "the client was never told the end"
    return driver


def play_many(make: type[GenerationFlow]) -> None:
    @settings(max_examples=1000, database=None)
    @given(st.lists(st.sampled_from(LIKELY), max_size=10))
    def run(moves: list[str]) -> None:
        play(make("tiny", 0.0), moves)

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
        )
    ]


def test_an_engine_lost_before_the_first_text_is_replaced_unnoticed() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["leased", "lost", "leased", "piece", "done"])
    assert [settled.outcome for settled in driver.settled] == ["link_lost", "completed"]
    assert not any(isinstance(event, Failure) for event in driver.emitted)


def test_it_is_replaced_only_once() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["leased", "lost", "leased", "lost"])
    last = driver.emitted[-1]
    assert isinstance(last, Failure)
    assert last.code == "link_lost"
    assert driver.asked_leases == 2


def test_an_engine_lost_after_the_first_text_ends_the_stream() -> None:
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


def test_a_drained_client_is_told_why() -> None:
    driver = play(GenerationFlow("tiny", 0.0), ["leased", "piece", "drain", "piece", "failed"])
    assert isinstance(driver.emitted[-1], Failure)
    assert driver.emitted[-1].code == "shutting_down"


class ForgetsTheLeaseOfAnAbandonedRequest(GenerationFlow):  # type: ignore[misc]
    def leased(self, lease: Lease, now: float) -> Effects:
        effects = super().leased(lease, now)
        return () if self.phase is Phase.ENDED else effects


class SettlesAgainOnCancel(GenerationFlow):  # type: ignore[misc]
    def cancel(self, failure: Failure | None) -> Effects:
        settled = tuple(
            Settle(LeaseSettled(1, "cancelled")) for _ in range(self._lease is not None)
        )
        return (*super().cancel(failure), *settled)


class TellsTheEndTwice(GenerationFlow):  # type: ignore[misc]
    def _emit(self, event: GenerationEvent) -> Effects:
        return (Emit(event),)


class RetriesAfterText(GenerationFlow):  # type: ignore[misc]
    def _may_retry(self, reason: str) -> bool:
        return self.phase is Phase.GENERATING and self._retries == 0


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
        RetriesAfterText,
        NeverTellsTheEnd,
    ],
)
def test_the_driver_catches_a_naive_flow(mutant: type[GenerationFlow]) -> None:
    with pytest.raises(AssertionError):
        play_many(mutant)
