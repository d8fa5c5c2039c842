"""Progress of a few long steps: a spinner on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

from rich.console import Console
from rich.text import Text

from transports.clock import Clock, MonotonicClock

Report = Callable[[str], None]

_EVERY_S = 2.0


@final
class Steps:
    """Shows one step at a time; main thread only."""

    def __init__(self, console: Console, clock: Clock | None = None) -> None:
        self._console = console
        self._clock = clock or MonotonicClock()

    @contextmanager
    def step(self, title: str) -> Iterator[Report]:
        """Show ``title`` while the block runs; call the yielded function with what it is doing."""
        started = self._clock.now()
        if self._console.is_terminal:
            with self._console.status(Text(title)) as status:
                yield lambda detail: status.update(Text(f"{title}: {detail}"))
        else:
            self._say(f"{title} …")
            yield self._plain_report(title, started)
        self._say(f"{title}: done in {self._clock.now() - started:.1f} s")

    def _plain_report(self, title: str, started: float) -> Report:
        spoken = started

        def report(detail: str) -> None:
            nonlocal spoken
            now = self._clock.now()
            if now - spoken >= _EVERY_S:
                spoken = now
                self._say(f"{title}: {detail} ({now - started:.0f} s)")

        return report

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
