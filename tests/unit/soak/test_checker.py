from __future__ import annotations

from dataclasses import replace

import pytest

from tests.soak.checker import CENSUS, DEADLINE_S, RECOVERY_S, check
from tests.soak.history import Blow, Disturbance, End, Exchange, Fall, History, Remains, Size

GOOD = Exchange(
    number=1,
    door="gateway",
    streamed=True,
    expected=" w1 w2 w3",
    tokens=3,
    began=10.0,
    ended=11.0,
    ends=(End.FINISHED,),
    text=" w1 w2 w3",
    finish="length",
    counted=3,
    closing=True,
)
FAILED = replace(
    GOOD, ends=(End.FAILED,), text=" w1", finish="", counted=None, detail="link_lost", closing=False
)
CUT = replace(FAILED, ends=(End.CUT,), detail="ReadError")
ENGINE_KILLED = Disturbance((Blow("kill", "engine", 10.5, 10.5),), 12.0)
WORKER_KILLED = Disturbance((Blow("kill", "gateway worker", 10.5, 10.5),), 12.0)
WELL = Remains(census=CENSUS)


def rules(
    *exchanges: Exchange,
    during: tuple[Disturbance, ...] = (),
    falls: tuple[Fall, ...] = (),
    remains: Remains = WELL,
) -> set[str]:
    history = History(exchanges, during, falls, remains)
    return {violation.rule for violation in check(history)}


@pytest.mark.parametrize(
    ("exchange", "during"),
    [
        (GOOD, ()),
        (replace(GOOD, streamed=False, closing=False), ()),
        (replace(FAILED, ends=(End.LEFT,)), ()),
        (GOOD, (ENGINE_KILLED,)),
        (FAILED, (ENGINE_KILLED,)),
        (CUT, (WORKER_KILLED,)),
        (CUT, (ENGINE_KILLED, WORKER_KILLED)),
    ],
)
def test_what_may_happen_is_not_flagged(
    exchange: Exchange, during: tuple[Disturbance, ...]
) -> None:
    assert rules(exchange, during=during) == set()


@pytest.mark.parametrize(
    ("exchange", "rule"),
    [
        (replace(GOOD, ended=None, ends=()), "no terminal event"),
        (replace(GOOD, ends=()), "no terminal event"),
        (replace(GOOD, ends=(End.FINISHED, End.FINISHED)), "several terminal events"),
        (replace(GOOD, ends=(End.FINISHED, End.FAILED)), "several terminal events"),
        (replace(GOOD, late=True), "several terminal events"),
        (replace(GOOD, ended=10.0 + DEADLINE_S + 1), "deadline"),
        (replace(GOOD, text=" w1 w9 w3"), "wrong text"),
        (replace(GOOD, text=" w2 w3"), "wrong text"),
        (replace(GOOD, text=" w1 w1 w2 w3"), "wrong text"),
        (replace(GOOD, text=" w1 w2 w3 w4"), "wrong text"),
        (replace(FAILED, text=" w9"), "wrong text"),
        (replace(FAILED, ends=(End.LEFT,), text=" w1 w3"), "wrong text"),
        (replace(CUT, text=" w3"), "wrong text"),
        (replace(GOOD, text=" w1 w2"), "text missing"),
        (replace(GOOD, counted=2), "wrong token count"),
        (replace(GOOD, finish="stop"), "wrong finish reason"),
        (replace(GOOD, closing=False), "unclosed stream"),
        (replace(FAILED, closing=True), "failure ended cleanly"),
        (replace(FAILED, detail="internal"), "dishonest failure"),
        (replace(FAILED, detail="None"), "dishonest failure"),
        (CUT, "connection cut"),
        (replace(CUT, door="neuron"), "connection cut"),
    ],
)
def test_a_broken_promise_to_a_client_is_flagged_even_while_disturbed(
    exchange: Exchange, rule: str
) -> None:
    assert rule in rules(exchange, during=(ENGINE_KILLED,))


@pytest.mark.parametrize(
    "during",
    [
        (),
        (Disturbance((Blow("kill", "engine", 2.0, 2.0),), 3.0),),
        (Disturbance((Blow("kill", "engine", 12.0, 12.0),), 13.0),),
    ],
    ids=["never", "before", "after"],
)
def test_a_failure_without_a_disturbance_at_its_time_is_flagged(
    during: tuple[Disturbance, ...],
) -> None:
    assert rules(FAILED, during=during) == {"failed undisturbed"}


def test_a_connection_is_excused_only_by_a_blow_on_who_holds_it() -> None:
    assert rules(replace(CUT, door="neuron"), during=(WORKER_KILLED,)) == {"connection cut"}


@pytest.mark.parametrize(
    ("served", "found"),
    [
        (17.0, set()),
        (17.0 + RECOVERY_S - 0.1, set()),
        (17.0 + RECOVERY_S + 0.1, {"slow recovery"}),
        (None, {"no recovery"}),
    ],
)
def test_recovery_is_timed_from_when_the_last_fault_has_been_judged(
    served: float | None, found: set[str]
) -> None:
    blows = (Blow("stop", "rank0", 10.0, 17.0), Blow("kill", "engine", 11.0, 11.0))

    assert rules(during=(Disturbance(blows, served),)) == found


def test_only_a_daemon_that_was_killed_may_fail_to_start() -> None:
    fall = Fall("neurond", 11.0, 78)
    killed = Disturbance((Blow("kill", "neurond", 10.0, 10.0),), 15.0)

    assert rules(falls=(fall,), during=(killed,)) == set()
    assert rules(falls=(replace(fall, at=20.0),), during=(killed,)) == {"daemon fell"}
    assert rules(falls=(fall,), during=(ENGINE_KILLED,)) == {"daemon fell"}


@pytest.mark.parametrize(
    ("remains", "rule"),
    [
        (replace(WELL, busy={"gateway leases": 1}), "not idle"),
        (replace(WELL, busy={"running": 2}), "not idle"),
        (replace(WELL, census={**CENSUS, "rank1": 2}), "census"),
        (replace(WELL, census={**CENSUS, "engine": 0}), "census"),
        (replace(WELL, census={**CENSUS, "stranger": 1}), "census"),
        (replace(WELL, sizes={"neurond": (Size(40, 20), Size(50, 20))}), "leak"),
        (replace(WELL, sizes={"cortexd": (Size(40, 20), Size(40, 30))}), "leak"),
        (replace(WELL, exit_codes={"cortexd": None}), "unclean end"),
        (replace(WELL, exit_codes={"cortexd": 1}), "unclean end"),
        (replace(WELL, orphans=("python -m worker",)), "orphan"),
        (replace(WELL, ipc_files=("/tmp/x/front.ipc",)), "ipc file left"),
    ],
)
def test_whatever_is_left_over_is_flagged(remains: Remains, rule: str) -> None:
    assert rules(remains=remains) == {rule}


def test_what_is_back_at_its_start_within_slack_is_not_flagged() -> None:
    sizes = {"neurond": (Size(40, 20), Size(42, 18))}

    assert rules(remains=replace(WELL, sizes=sizes, exit_codes={"neurond": 0})) == set()
