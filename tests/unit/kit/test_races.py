"""Real threads at full speed: whatever happens when, every question is answered."""

from __future__ import annotations

import threading

import pytest

from cortex_actors.kit.asking import Future
from cortex_actors.kit.errors import ActorDead, MailboxFull
from cortex_actors.kit.reasons import FENCED
from cortex_actors.kit.ref import ActorRef
from tests.eventually import eventually
from tests.unit.kit.actors import SOON_S, Do, Echo, Raise
from tests.unit.kit.conftest import Start

ENDINGS = ["stop", "crash", "fence", "leave"]
ROUNDS = 8


def end(ref: ActorRef, ending: str) -> None:
    if ending == "stop":
        ref.stop()
    elif ending == "fence":
        ref.fence()
    elif ending == "crash":
        ref.tell_control(Raise(SystemExit(1)))
    else:
        ref.tell_control(Do(lambda actor: actor.leave()))


def ask_until_dead(ref: ActorRef, asked: list[Future[int]]) -> None:
    for _ in range(2000):
        future = ref.ask_async(Echo(1), 60.0)
        asked.append(future)
        if isinstance(future.error, ActorDead):
            return


def race(ref: ActorRef, ending: str) -> list[Future[int]]:
    asked: list[Future[int]] = []
    askers = [threading.Thread(target=ask_until_dead, args=(ref, asked)) for _ in range(3)]
    for asker in askers:
        asker.start()
    eventually(lambda: len(asked) > 0)
    end(ref, ending)
    assert ref.exit.wait(SOON_S)
    for asker in askers:
        asker.join(SOON_S)
    return asked


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_question_is_lost_when_the_end_races_the_askers(start: Start, ending: str) -> None:
    for _ in range(ROUNDS):
        for future in race(start(), ending):
            assert future.wait(SOON_S), "a question was lost"
            assert future.error is None or isinstance(future.error, ActorDead | MailboxFull)


def test_concurrent_fences_publish_one_exit(start: Start) -> None:
    won: list[bool] = []

    def fence(ref: ActorRef) -> None:
        won.append(ref.fence())

    for _ in range(ROUNDS):
        won.clear()
        ref = start()
        exits: list[object] = []
        ref.exit.on_done(exits.append)
        threads = [threading.Thread(target=fence, args=(ref,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON_S)
        assert won.count(True) <= 1
        assert ref.exit.result() == FENCED
        assert len(exits) == 1
