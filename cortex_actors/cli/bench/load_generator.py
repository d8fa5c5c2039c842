"""Puts a load on an endpoint: so many streams at once, or requests at given times.

The methods are coroutines of one event loop. Nothing here is shared with other threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, final

from cortex_actors.cli.bench.completion_stream import CompletionStream
from cortex_actors.cli.bench.stream_record import StreamRecord
from cortex_actors.cli.bench.target import Target
from transports.clock import Clock, MonotonicClock


@final
class LoadGenerator:
    """One endpoint under load.

    Args:
        target: Whom to ask.
        new_tokens: How many output tokens each request is for.
        clock: Times the records.
    """

    def __init__(self, target: Target, new_tokens: int, clock: Clock | None = None) -> None:
        self._target = target
        self._new_tokens = new_tokens
        self._clock = clock or MonotonicClock()

    def start(self, prompt: str) -> tuple[StreamRecord, asyncio.Task[StreamRecord]]:
        """Send one request now; its record fills while the task runs."""
        record = StreamRecord(self._clock.now())
        return record, asyncio.create_task(self._send(prompt, record))

    async def closed_loop(
        self, prompts: Sequence[str], streams: int, limit_s: float
    ) -> list[StreamRecord]:
        """Keep ``streams`` requests running until all prompts were answered or time is up."""
        waiting = iter(prompts)
        records: list[StreamRecord] = []
        await _within(limit_s, [self._keep_asking(waiting, records) for _ in range(streams)])
        return records

    async def open_loop(
        self, prompts: Sequence[str], due_s: Sequence[float], limit_s: float
    ) -> list[StreamRecord]:
        """Send each prompt when it is due, however many still run."""
        start = self._clock.now()
        records: list[StreamRecord] = []
        pairs = zip(prompts, due_s, strict=True)
        await _within(limit_s, [self._send_at(p, start + due, records) for p, due in pairs])
        return records

    async def _keep_asking(self, waiting: Iterator[str], records: list[StreamRecord]) -> None:
        for prompt in waiting:
            record = StreamRecord(self._clock.now())
            records.append(record)
            await self._send(prompt, record)

    async def _send_at(self, prompt: str, due_at: float, records: list[StreamRecord]) -> None:
        await asyncio.sleep(max(0.0, due_at - self._clock.now()))
        record = StreamRecord(due_at)
        records.append(record)
        await self._send(prompt, record)

    async def _send(self, prompt: str, record: StreamRecord) -> StreamRecord:
        request = self._target.request(prompt, self._new_tokens)
        return await CompletionStream.run(self._target, request, record, self._clock)


async def _within(limit_s: float, work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run everything at once; cut what still runs when the time is up."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    _, running = await asyncio.wait(tasks, timeout=limit_s)
    for task in running:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
