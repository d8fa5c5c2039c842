"""Which models are not to be tried again, or not yet, because they failed. Pure.

A load that fails and a model that dies soon after it was ready count alike. Each failure in a row
makes the next try wait twice as long; after the third there is none until an operator asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import msgspec

from transports.failures import FailureCode
from transports.schemas.link import Failure

MOST: Final = 3
FIRST_WAIT_S: Final = 16.0
EARLY_S: Final = 10.0
"""A model that lives so long after it was ready has not died of its load."""

_BLAMELESS: Final = frozenset(
    {
        FailureCode.CANCELLED,
        FailureCode.MODEL_UNAVAILABLE,
        FailureCode.INSUFFICIENT_DEVICES,
        FailureCode.SHUTTING_DOWN,
        FailureCode.OVERLOADED,
    }
)


@dataclass(slots=True)
class _Row:
    count: int
    last: Failure
    until: float


@final
class LoadFailures:
    """The models that failed lately. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def failed(self, model: str, failure: Failure, now: float) -> None:
        """A load has failed, or the model died early; ``failure`` says why."""
        if failure.code in _BLAMELESS:
            return
        row = self._rows.get(model)
        count = row.count + 1 if row else 1
        self._rows[model] = _Row(count, failure, now + FIRST_WAIT_S * 2.0 ** (count - 1))

    def healthy(self, model: str) -> None:
        """The model has been ready for ``EARLY_S``, or somebody wants it tried again at once."""
        self._rows.pop(model, None)

    def refusal(self, model: str, now: float) -> Failure | None:
        """Why the model is not to be loaded now, if it is not."""
        row = self._rows.get(model)
        if row is None or (row.count < MOST and now >= row.until):
            return None
        if row.count < MOST:
            return msgspec.structs.replace(row.last, retry_after_s=row.until - now)
        return Failure(
            FailureCode.LOAD_FAILED,
            f"model '{model}' failed {row.count} times in a row and is not tried again by itself;"
            f" the last time: {row.last.message}",
            detail=row.last.detail,
        )

    def given_up(self) -> dict[str, str]:
        """The models that are not tried again, with the reason."""
        return {model: row.last.message for model, row in self._rows.items() if row.count >= MOST}
