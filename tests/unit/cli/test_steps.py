"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cortex_actors.cli.steps import Steps
from transports.clock import ManualClock


def _console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, force_terminal=terminal, width=100), output


def test_plain_lines_speak_every_two_seconds() -> None:
    console, output = _console(terminal=False)
    clock = ManualClock()
    with Steps(console, clock).step("Loading") as report:
        for percent in (10, 20, 30):
            clock.advance(1.0)
            report(f"{percent}%")
    assert output.getvalue().splitlines() == [
        "Loading …",
        "Loading: 20% (2 s)",
        "Loading: done in 3.0 s",
    ]


def test_terminal_shows_the_latest_detail() -> None:
    console, output = _console(terminal=True)
    with Steps(console, ManualClock()).step("Loading") as report:
        report("20%")
    assert "Loading: done in 0.0 s" in output.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_failed_step_is_not_called_done(*, terminal: bool) -> None:
    console, output = _console(terminal=terminal)

    def fail() -> None:
        with Steps(console, ManualClock()).step("Loading"):
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert "done" not in output.getvalue()


def test_what_a_step_does_is_shown_as_it_is() -> None:
    console, output = _console(terminal=True)
    with Steps(console, ManualClock()).step("Loading [a]") as report:
        report("failed: [/b]")
    assert "Loading [a]: done" in output.getvalue()
