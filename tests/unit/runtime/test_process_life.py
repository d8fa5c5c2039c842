"""The life of a child process, driven by hand."""

from __future__ import annotations

import signal

from neuron_runtime.exit_codes import ExitKind, ExitReason
from neuron_runtime.process import (
    CloseDeathPipe,
    NotifyExit,
    ProcessLife,
    ProcessState,
    ReportUnkillable,
    SendSignal,
)

TERM, KILL, STACKS = (
    (SendSignal(signum),) for signum in (signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1)
)


def running() -> ProcessLife:
    life = ProcessLife()
    life.started()
    return life


def test_the_ladder_is_death_pipe_then_sigterm_then_sigkill() -> None:
    life = running()

    assert life.stop(5.0, 3.0, now=100.0) == (CloseDeathPipe(),)
    assert life.tick(104.9) == ()
    assert life.tick(105.0) == TERM
    assert life.tick(107.9) == ()
    assert life.tick(108.0) == KILL
    assert life.state is ProcessState.KILLED


def test_a_process_that_survives_sigkill_is_reported_once() -> None:
    life = running()
    assert life.kill(ExitKind.FENCED, now=0.0) == KILL

    assert life.tick(5.0) == (ReportUnkillable(),)
    assert life.wake_at is None
    assert life.tick(6.0) == ()


def test_an_exit_is_notified_exactly_once() -> None:
    life = running()

    assert life.exited(-9) == (NotifyExit(ExitReason(ExitKind.KILLED, -9)),)
    assert life.exited(-9) == ()
    assert life.state is ProcessState.EXITED


def test_an_exit_during_stop_is_a_shutdown_whatever_the_status() -> None:
    life = running()
    life.stop(5.0, 3.0, now=0.0)

    assert life.exited(71) == (NotifyExit(ExitReason(ExitKind.SHUTDOWN, 71)),)
    assert life.wake_at is None


def test_a_kill_names_the_exit_and_a_second_one_changes_nothing() -> None:
    life = running()

    assert life.kill(ExitKind.FENCED, now=0.0) == KILL
    assert life.kill(ExitKind.PROTOCOL, now=0.1) == ()
    assert life.exited(-9) == (NotifyExit(ExitReason(ExitKind.FENCED, -9)),)


def test_a_stalled_process_is_asked_for_its_stacks_before_the_kill() -> None:
    life = running()

    assert life.kill(ExitKind.STALLED, now=10.0) == STACKS
    assert life.tick(10.1) == ()
    assert life.tick(10.2) == KILL


def test_a_kill_with_notice_closes_the_death_pipe_first() -> None:
    life = running()

    assert life.kill(ExitKind.FENCED, now=10.0, notice_s=0.5) == (CloseDeathPipe(),)
    assert life.kill(ExitKind.FENCED, now=10.1) == ()
    assert life.tick(10.4) == ()
    assert life.tick(10.5) == KILL
    assert life.exited(-9) == (NotifyExit(ExitReason(ExitKind.FENCED, -9)),)


def test_a_stalled_process_with_notice_is_asked_for_its_stacks_too() -> None:
    life = running()

    assert life.kill(ExitKind.STALLED, now=10.0, notice_s=0.5) == (*STACKS, CloseDeathPipe())
    assert life.tick(10.2) == ()
    assert life.tick(10.5) == KILL


def test_a_kill_during_stop_skips_the_ladder_and_stays_a_shutdown() -> None:
    life = running()
    life.stop(5.0, 3.0, now=0.0)

    assert life.kill(ExitKind.FENCED, now=1.0) == KILL
    assert life.exited(-9) == (NotifyExit(ExitReason(ExitKind.SHUTDOWN, -9)),)


def test_stopping_an_ending_or_ended_process_does_nothing() -> None:
    life = running()
    life.stop(5.0, 3.0, now=0.0)
    assert life.stop(5.0, 3.0, now=1.0) == ()
    life.exited(0)

    assert life.stop(5.0, 3.0, now=2.0) == ()
    assert life.kill(ExitKind.FENCED, now=2.0) == ()
    life.started()
    assert life.state is ProcessState.EXITED
