"""The measurements of ``bench gateway``, each against one address."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cortex_actors.cli.bench.mock_script import FAST, GAP_S, SLOW, chat_request
from cortex_actors.cli.bench.raw_load import LoadRecord, RawLoad
from cortex_actors.cli.bench_health import percentile

Address = tuple[str, int]

WHOLE_TOKENS: Final = 16
STREAM_TOKENS: Final = 64
SLOW_TOKENS: Final = 20
_WARM_UP: Final = 200


@dataclass(frozen=True, slots=True)
class Throughput:
    """A closed loop of so many connections."""

    requests_per_s: float
    tokens_per_s: float
    p50_s: float
    p99_s: float
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Latency:
    """One connection, one request after the other, not streamed."""

    p50_s: float
    p99_s: float
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeldStreams:
    """Slow streams, all at once; ``resident`` is the most that the server kept, in bytes."""

    streams: int
    completed: int
    gap_p50_s: float
    gap_p99_s: float
    resident: int
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes after a tenth of the requests, and after all of them."""

    requests: int
    before: int
    after: int
    errors: dict[str, int] = field(default_factory=dict)


def throughput(
    address: Address, connections: int, seconds: float, *, streamed: bool, model: str = FAST
) -> Throughput:
    """Measure a closed loop; a few requests first, so that every thread is there."""
    tokens = STREAM_TOKENS if streamed else WHOLE_TOKENS
    _load(address, tokens, model, streamed=streamed).run(connections, total=_WARM_UP)
    record = _load(address, tokens, model, streamed=streamed).run(connections, seconds=seconds)
    return Throughput(
        requests_per_s=record.responses / record.seconds,
        tokens_per_s=record.tokens / record.seconds,
        p50_s=percentile(record.latencies, 50),
        p99_s=percentile(record.latencies, 99),
        errors=record.errors,
    )


def latency(address: Address, seconds: float, model: str = FAST) -> Latency:
    """Measure one connection."""
    record = _load(address, WHOLE_TOKENS, model, streamed=False).run(1, seconds=seconds)
    times = record.latencies
    return Latency(percentile(times, 50), percentile(times, 99), record.errors)


def held_streams(address: Address, streams: int, resident: Callable[[], int]) -> HeldStreams:
    """Hold ``streams`` slow streams, each to its end."""
    request = chat_request(address[0], model=SLOW, tokens=SLOW_TOKENS, streamed=True)
    load = RawLoad(address, request, tokens=SLOW_TOKENS, streamed=True, gaps=True)
    sizes: list[int] = []
    watch = threading.Timer(SLOW_TOKENS * GAP_S / 2, lambda: sizes.append(resident()))
    watch.start()
    record = load.run(streams, total=streams)
    watch.cancel()
    sizes.append(resident())
    return HeldStreams(
        streams=streams,
        completed=record.responses,
        gap_p50_s=percentile(record.gaps, 50),
        gap_p99_s=percentile(record.gaps, 99),
        resident=max(sizes),
        errors=record.errors,
    )


def memory(
    address: Address, connections: int, requests: int, resident: Callable[[], int]
) -> Memory:
    """Ask so many times and see what stays."""
    first = _load(address, WHOLE_TOKENS, FAST, streamed=False).run(
        connections, total=requests // 10
    )
    before = resident()
    rest = _load(address, WHOLE_TOKENS, FAST, streamed=False).run(
        connections, total=requests - requests // 10
    )
    return Memory(requests, before, resident(), _sum(first, rest))


def _load(address: Address, tokens: int, model: str, *, streamed: bool) -> RawLoad:
    request = chat_request(address[0], model=model, tokens=tokens, streamed=streamed)
    return RawLoad(address, request, tokens=tokens, streamed=streamed)


def _sum(*records: LoadRecord) -> dict[str, int]:
    errors: dict[str, int] = {}
    for record in records:
        for why, count in record.errors.items():
            errors[why] = errors.get(why, 0) + count
    return errors
