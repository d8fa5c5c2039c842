"""What one reader has not taken yet: bounded by the text that it was told, not by the events. Pure.

Until the reader lags, every event stays by itself. Then what comes is joined to the last piece of
its choice, if the two are of one kind: each choice keeps its order, and choices have none among
themselves that a client could rely on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from cortex_actors.dialects.events import GenerationEvent
from transports.schemas.fleet import ModelState
from transports.schemas.generate import TextDelta
from transports.text_run import are_one_piece, join

LIMIT: Final = 64
"""From how many pieces on a reader lags; so many of one run are kept before they are joined."""


@dataclass(slots=True)
class _Run:
    """Pieces that are one, as soon as somebody asks."""

    pieces: list[TextDelta]


@final
class EventBuffer:
    """Events in, all of them out; for one thread at a time."""

    def __init__(self) -> None:
        self._held: list[GenerationEvent | _Run] = []
        # The last piece of each choice; known only of a reader that lags.
        self._last: dict[int, int] | None = None
        self._joined = 0

    def __len__(self) -> int:
        """Return how many pieces are in memory; ``take`` may return fewer."""
        return len(self._held) + self._joined

    def put(self, event: GenerationEvent) -> None:
        """Append an event; of the progress of a load only the latest is kept."""
        held = self._held
        if isinstance(event, TextDelta):
            if len(held) < LIMIT or not self._join(event):
                held.append(event)
        elif held and isinstance(event, ModelState) and isinstance(held[-1], ModelState):
            held[-1] = event
        else:
            held.append(event)

    def take(self) -> tuple[GenerationEvent, ...]:
        """Return and remove everything."""
        held, self._held = self._held, []
        if self._last is None:
            return tuple(held)  # type: ignore[arg-type]  # runs are made with ``_last`` alone
        self._last, self._joined = None, 0
        return tuple([join(each.pieces) if isinstance(each, _Run) else each for each in held])

    def clear(self) -> None:
        """Forget everything."""
        self._held, self._last, self._joined = [], None, 0

    def _join(self, delta: TextDelta) -> bool:
        """Join it to its choice's last piece; if it cannot be, it will be that piece itself."""
        last = self._last_of_choices()
        place = last.get(delta.choice)
        last[delta.choice] = len(self._held)
        if place is None:
            return False
        piece = self._held[place]
        run = piece if isinstance(piece, _Run) else _Run([piece])  # type: ignore[list-item]
        if not are_one_piece(run.pieces[0], delta):
            return False
        last[delta.choice] = place
        self._held[place] = run
        run.pieces.append(delta)
        self._joined += 1
        if len(run.pieces) > LIMIT:
            # PERF: at each piece, joining would cost the square of the text.
            run.pieces = [join(run.pieces)]
            self._joined -= LIMIT
        return True

    def _last_of_choices(self) -> dict[int, int]:
        if self._last is None:
            self._last = {
                each.choice: place
                for place, each in enumerate(self._held)
                if isinstance(each, TextDelta)
            }
        return self._last
