"""The requests that wait for a model to be loaded. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from cortex_actors.serving.messages import LeaseAsked
from neuron_runtime.engine.longest_line_drop import give_way


@final
class ParkedRequests:
    """By model, each model's in the order in which they came. One thread."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[LeaseAsked]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __contains__(self, model: object) -> bool:
        """Whether anyone waits for ``model``."""
        return model in self._waiting

    def __iter__(self) -> Iterator[tuple[str, LeaseAsked]]:
        """Go through a copy: each with its model."""
        return iter([(model, each) for model, all_ in self._waiting.items() for each in all_])

    @property
    def models(self) -> list[str]:
        """What is waited for."""
        return list(self._waiting)

    def counts(self) -> dict[str, int]:
        """Return how many wait for each model."""
        return {model: len(waiting) for model, waiting in self._waiting.items()}

    def of(self, model: str) -> tuple[LeaseAsked, ...]:
        """Return those that wait for ``model``."""
        return tuple(self._waiting.get(model, ()))

    def add(self, model: str, *asked: LeaseAsked) -> None:
        """Let them wait behind those that do."""
        if asked:
            self._waiting.setdefault(model, []).extend(asked)

    def take(self, model: str) -> tuple[LeaseAsked, ...]:
        """Let none wait for ``model`` any more; return those that did."""
        return tuple(self._waiting.pop(model, ()))

    def remove(self, model: str, asked: LeaseAsked) -> None:
        """Let one wait no more, if it does."""
        waiting = self._waiting.get(model, [])
        if asked in waiting:
            waiting.remove(asked)
        if not waiting:
            self._waiting.pop(model, None)

    def giving_way(self, principal: str) -> tuple[str, LeaseAsked] | None:
        """Return who makes way for one more of ``principal``, with its model; None if nobody."""
        parked = sorted(self, key=lambda each: each[1].since)
        places = ((each[1].wanted.principal, each) for each in parked)
        return next(give_way(principal, 1, places), None)
