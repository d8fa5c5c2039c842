from __future__ import annotations

import threading

import pytest

from cortex_actors.kit.asking import Future, collect
from cortex_actors.kit.errors import AskTimeout
from tests.unit.kit.actors import SOON_S


def test_the_first_answer_wins() -> None:
    future: Future[int] = Future()
    assert future.resolve(1)
    assert not future.resolve(2)
    assert not future.fail(ValueError("late"))
    assert future.get(timeout=0) == 1
    assert future.error is None


def test_an_error_is_raised_to_everyone_who_asks() -> None:
    future: Future[int] = Future()
    assert future.fail(ValueError("no"))
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            future.result()


def test_there_is_no_result_before_the_answer() -> None:
    future: Future[int] = Future()
    with pytest.raises(AskTimeout):
        future.result()
    with pytest.raises(AskTimeout, match=r"within 0\.01 s"):
        future.get(timeout=0.01)


def test_many_threads_may_wait() -> None:
    future: Future[int] = Future()
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(future.get())) for _ in range(3)]
    for thread in threads:
        thread.start()
    future.resolve(7)
    for thread in threads:
        thread.join(SOON_S)
    assert got == [7, 7, 7]


def test_a_callback_runs_once_whether_early_or_late() -> None:
    future: Future[int] = Future()
    got: list[int] = []
    future.on_done(lambda done: got.append(done.result()))
    future.resolve(1)
    future.on_done(lambda done: got.append(done.result() + 10))
    assert got == [1, 11]


def test_a_forgotten_callback_does_not_run() -> None:
    future: Future[int] = Future()
    got: list[Future[int]] = []
    callback = got.append
    future.on_done(callback)
    future.forget(callback)
    future.forget(callback)
    future.resolve(1)
    assert got == []


def test_a_failing_callback_harms_neither_the_answerer_nor_other_callbacks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    future: Future[int] = Future()
    got: list[int] = []
    future.on_done(lambda _: 1 / 0)  # type: ignore[arg-type]
    future.on_done(lambda done: got.append(done.result()))
    with caplog.at_level("CRITICAL", logger="cortex"):
        assert future.resolve(1)
    assert got == [1]


def test_collect_keeps_the_order_of_the_questions() -> None:
    futures: list[Future[int]] = [Future() for _ in range(3)]
    for number in (2, 0, 1):
        futures[number].resolve(number)
    assert collect(futures, SOON_S) == [0, 1, 2]


def test_collect_has_one_deadline_for_all() -> None:
    futures: list[Future[int]] = [Future() for _ in range(1000)]
    futures[0].resolve(0)
    with pytest.raises(AskTimeout, match=r"answer 1 .* within 0\.02 s"):
        collect(futures, 0.02)


def test_collect_raises_the_first_error() -> None:
    futures: list[Future[int]] = [Future(), Future()]
    futures[0].resolve(0)
    futures[1].fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        collect(futures, SOON_S)


def test_pykkas_interface_answers_too() -> None:
    answered: Future[int] = Future()
    answered.set(3)
    assert answered.map(lambda value: value + 1).get(timeout=SOON_S) == 4
    failed: Future[int] = Future()
    failed.set_exception((ValueError, ValueError("no"), None))
    with pytest.raises(ValueError, match="no"):
        failed.get(timeout=SOON_S)
