"""Ctrl-C, once and twice."""

from __future__ import annotations

import os
import signal

import pytest

from cortex_actors.cli.interrupts import Interrupts


def _press(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_interrupts_and_the_second_kills(number: int) -> None:
    kills: list[int] = []
    with Interrupts(kill=lambda: kills.append(1)):
        with pytest.raises(KeyboardInterrupt):
            _press(number)
        assert kills == []
        _press(number)
        _press()
    assert kills == [1, 1]


def test_shield_holds_the_first_signal_back() -> None:
    done: list[str] = []
    with Interrupts(kill=lambda: done.append("killed")) as interrupts:

        def start_something() -> None:
            with interrupts.shield():
                _press()
                done.append("block finished")

        with pytest.raises(KeyboardInterrupt):
            start_something()
        assert done == ["block finished"]
        with interrupts.shield():
            pass


def test_after_the_last_call_every_signal_kills() -> None:
    kills: list[int] = []
    with Interrupts(kill=lambda: kills.append(1)) as interrupts:
        interrupts.last_call()
        _press()
    assert kills == [1]


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts(kill=lambda: None):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
