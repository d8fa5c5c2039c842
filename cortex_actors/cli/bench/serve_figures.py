"""The figures of one measurement, from the records of its streams; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, final

from cortex_actors.cli.bench.stream_record import CUT, StreamRecord
from cortex_actors.cli.bench_health import percentile


@final
@dataclass(frozen=True, slots=True)
class Spread:
    """How some times, in seconds, are spread (nearest rank)."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, samples: Iterable[float]) -> Self | None:
        """Return the spread; None of no samples."""
        ordered = sorted(samples)
        if not ordered:
            return None
        return cls(percentile(ordered, 50), percentile(ordered, 99), ordered[-1])


@final
@dataclass(frozen=True, slots=True)
class ServeFigures:
    """What the clients saw. Times in seconds; None where nothing was there to measure.

    ``first_text`` counts from when a request was due, so a generator that is late does not flatter
    the server. ``gap`` is between two reads that brought text, ``token`` a token's mean time within
    one stream. ``tokens_per_s`` is all output over the time from the first request to the last
    end. ``cut`` streams were stopped at the time limit: they count for tokens, not for ``total``.
    """

    requests: int
    completed: int
    cut: int
    errors: dict[str, int]
    seconds: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    tokens_per_s: float
    first_text: Spread | None
    gap: Spread | None
    token: Spread | None
    total: Spread | None

    @classmethod
    def of(cls, records: Sequence[StreamRecord]) -> Self:
        """Return the figures of streams that have all ended."""
        errors = Counter(record.error for record in records if record.error)
        cut = errors.pop(CUT, 0)
        seconds = _span(records)
        tokens = sum(record.tokens for record in records)
        return cls(
            requests=len(records),
            completed=sum(not record.error for record in records),
            cut=cut,
            errors=dict(errors),
            seconds=seconds,
            prompt_tokens=sum(record.prompt_tokens for record in records),
            cached_tokens=sum(record.cached_tokens for record in records),
            output_tokens=tokens,
            tokens_per_s=tokens / seconds if seconds else 0.0,
            first_text=Spread.of(_known(record.first_text_s for record in records)),
            gap=Spread.of(gap for record in records for gap in record.gaps_s),
            token=Spread.of(_known(record.token_s for record in records)),
            total=Spread.of(_known(record.total_s for record in records)),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON objects."""
        return asdict(self)


def _span(records: Sequence[StreamRecord]) -> float:
    ends = list(_known(record.ended_at for record in records))
    return max(ends) - min(record.due_at for record in records) if ends else 0.0


def _known(values: Iterable[float | None]) -> Iterable[float]:
    return (value for value in values if value is not None)
