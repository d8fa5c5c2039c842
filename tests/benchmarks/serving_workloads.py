"""What ``bench_serve`` asks of every server, and the one figure that each workload gives."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cortex_actors.cli.bench.load_generator import LoadGenerator
from cortex_actors.cli.bench.prompts import Prompts
from cortex_actors.cli.bench.serve_figures import ServeFigures
from cortex_actors.cli.bench.stream_record import CUT, StreamRecord
from cortex_actors.cli.bench.target import Target
from tests.benchmarks.peers import Peer
from tests.benchmarks.serving_verdicts import Measurement

SHORT_PROMPT, LONG_PROMPT, PREFIX = 80, 740, 700
NEW_TOKENS = 96
DECODING, SETTLED_READS, DECODE_TOKENS = 8, 16, 160
_POLL_S = 0.005


class MeasureError(Exception):
    """A server did not do what was asked; the text says what it said."""


@dataclass(frozen=True, slots=True)
class Question:
    """One measurement of one server.

    Args:
        peer: The server; it has its turn.
        seed: Of the prompts: the same for all servers in a round, another in the next.
        limit_s: When to cut what still runs.
    """

    peer: Peer
    seed: int
    limit_s: float

    @property
    def target(self) -> Target:
        return self.peer.target


def prompts_of(seed: int, count: int, tokens: int, prefix_tokens: int = 0) -> list[str]:
    prompts = Prompts(seed, tokens, prefix_tokens)
    return [prompts.prompt(number) for number in range(count)]


def one_stream(question: Question) -> Measurement:
    """ITL p50 of one stream, in ms."""
    figures = ServeFigures.of(_closed(question, streams=1))
    return Measurement(figures.gap.p50 * 1e3 if figures.gap else math.inf, figures.cut > 0)


def eight_streams(question: Question) -> Measurement:
    """Tokens per second of 8 streams."""
    return _rate(_closed(question, streams=8))


def sixteen_streams(question: Question) -> Measurement:
    """Tokens per second of 16 streams."""
    return _rate(_closed(question, streams=16))


def four_long_prompts(question: Question) -> Measurement:
    """TTFT p50 of four long prompts that arrive at once, in s."""
    load = LoadGenerator(question.target, 16)
    prompts = prompts_of(question.seed, 4, LONG_PROMPT)
    records = _checked(asyncio.run(load.closed_loop(prompts, 4, question.limit_s)))
    return _measured(statistics.median_low(map(_first_text_s, records)), records)


def shared_prefix(question: Question) -> Measurement:
    """TTFT of a second request with the same long prefix, relative to the first's."""
    load = LoadGenerator(question.target, 8)
    prompts = prompts_of(question.seed, 2, LONG_PROMPT, PREFIX)
    records = _checked(asyncio.run(load.closed_loop(prompts, 1, question.limit_s)))
    first, second = (*map(_first_text_s, records), math.inf)[:2]
    return _measured(second / first if first < math.inf else math.inf, records)


def newcomer(question: Question) -> Measurement:
    """Worst gap of running streams while a long prompt arrives, in median gaps before it."""
    records, arrived = asyncio.run(_run_newcomer(question))
    _checked([*records, arrived])
    return _measured(interference(records, arrived), [*records, arrived])


def cold_start(question: Question) -> Measurement:
    """From the load request, or the process's start, to the first token, in s."""
    began = question.peer.unload()
    if began is None:
        return Measurement(math.nan)
    load = LoadGenerator(question.target, 4)
    prompts = prompts_of(question.seed, 1, SHORT_PROMPT)
    (record,) = _checked(asyncio.run(load.closed_loop(prompts, 1, question.limit_s)))
    return _measured(record.text_at[0] - began if record.text_at else math.inf, [record])


def interference(running: Sequence[StreamRecord], arrived: StreamRecord) -> float:
    """Return the worst gap while ``arrived`` waited for its first text, in median gaps before.

    Only gaps that overlap the wait count as worst, and only gaps that ended before it as median.
    """
    until = arrived.text_at[0] if arrived.text_at else math.inf
    gaps = [pair for record in running for pair in pairwise(record.text_at)]
    before = [end - begin for begin, end in gaps if end <= arrived.due_at]
    during = [end - begin for begin, end in gaps if end > arrived.due_at and begin < until]
    if not before or not during:
        return math.nan
    return max(during) / statistics.median(before)


async def _run_newcomer(question: Question) -> tuple[list[StreamRecord], StreamRecord]:
    load = LoadGenerator(question.target, DECODE_TOKENS)
    started = [load.start(text) for text in prompts_of(question.seed, DECODING, SHORT_PROMPT)]
    records = [record for record, _ in started]
    tasks = [task for _, task in started]
    single = LoadGenerator(question.target, 4)
    arrived: StreamRecord | None = None
    try:
        async with asyncio.timeout(question.limit_s):
            while not all(len(record.text_at) >= SETTLED_READS for record in records):
                if any(task.done() for task in tasks):
                    raise MeasureError("a stream ended before all were running")
                await asyncio.sleep(_POLL_S)
            (prompt,) = prompts_of(question.seed + 1, 1, LONG_PROMPT)
            arrived, task = single.start(prompt)
            tasks.append(task)
            await asyncio.wait(tasks)
    except TimeoutError:
        if arrived is None:
            raise MeasureError("not all streams ran at the same time before the limit") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return records, arrived


def _closed(question: Question, streams: int) -> list[StreamRecord]:
    load = LoadGenerator(question.target, NEW_TOKENS)
    prompts = prompts_of(question.seed, streams, SHORT_PROMPT)
    return _checked(asyncio.run(load.closed_loop(prompts, streams, question.limit_s)))


def _rate(records: list[StreamRecord]) -> Measurement:
    return _measured(ServeFigures.of(records).tokens_per_s, records)


def _measured(value: float, records: Sequence[StreamRecord]) -> Measurement:
    return Measurement(value, any(record.error == CUT for record in records))


def _checked(records: list[StreamRecord]) -> list[StreamRecord]:
    for record in records:
        if record.error not in {"", CUT}:
            raise MeasureError(record.error)
    return records


def _first_text_s(record: StreamRecord) -> float:
    found = record.first_text_s
    return math.inf if found is None else found


@dataclass(frozen=True, slots=True)
class Workload:
    """One line of the comparison."""

    key: str
    title: str
    unit: str
    measure: Callable[[Question], Measurement]


WORKLOADS = (
    Workload("a", "1 stream: ITL p50", "ms", one_stream),
    Workload("b", "8 streams", "tok/s", eight_streams),
    Workload("c", "16 streams", "tok/s", sixteen_streams),
    Workload("d", f"4 x {LONG_PROMPT} at once: TTFT p50", "s", four_long_prompts),
    Workload("e", f"same {PREFIX} again: TTFT", "of first", shared_prefix),
    Workload("f", f"{LONG_PROMPT} arrive: worst gap", "x median", newcomer),
    Workload("g", "cold to first token", "s", cold_start),
)
