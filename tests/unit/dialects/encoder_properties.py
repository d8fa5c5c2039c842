"""What holds of the streams of every dialect, from the engine's events to the client's bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.dialects.events import GenerationEvent
from cortex_actors.http.backend import GenerationTimes
from cortex_actors.http.client_connection import ClientConnection
from cortex_actors.http.sse import KEEP_ALIVE_S, EventStream
from tests.unit.dialects.generation_events import Output, batches, cuttings, outputs
from tests.unit.dialects.stream_client import Asked, StreamClient, frames
from tests.unit.dialects.streamed_dialects import REQUEST_ID, Dialect, Make
from transports.clock import ManualClock
from transports.failures import FailureCode
from transports.schemas.link import Failure

Batches = Sequence[tuple[GenerationEvent, ...]]


class Replay:
    """A generation whose batches lie ready one after the other; an empty one is silence."""

    def __init__(self, told: Batches, clock: ManualClock) -> None:
        self._left = list(told)
        self._clock = clock
        self._fd = os.eventfd(1)
        self.times = GenerationTimes()

    def fileno(self) -> int:
        return self._fd

    def take(self) -> tuple[GenerationEvent, ...]:
        assert self._left, "the stream goes on after its last event"
        batch = self._left.pop(0)
        if not batch:
            self._clock.advance(KEEP_ALIVE_S)
        return batch

    def close(self) -> None:
        self._left.clear()
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


StreamType = type[EventStream]


def body_of(
    encoder: GenerationEncoder, told: Batches, stream_type: StreamType = EventStream
) -> bytes:
    """Return what a client gets for the batches."""
    clock = ManualClock()
    stream = stream_type(Replay(told, clock), encoder, ClientConnection({}), REQUEST_ID, clock)
    try:
        return b"".join(stream)
    finally:
        stream.close()


def gathered(encoder: GenerationEncoder, events: Sequence[GenerationEvent]) -> dict[str, Any]:
    """Return the object of a response that is not streamed."""
    *before, whole = [encoder.gather(event) for event in events]
    assert before == [None] * len(before)
    assert whole is not None
    return whole


@dataclass(frozen=True, slots=True)
class Subject:
    """A dialect's encoder, or another that is said to be as good."""

    dialect: Dialect
    make: Make
    stream_type: StreamType = EventStream

    def read(self, asked: Asked, told: Batches) -> StreamClient:
        """Return a client that has read the whole stream."""
        client = self.dialect.client(asked)
        for frame in frames(body_of(self.make(asked), told, self.stream_type)):
            client.read(frame)
        return client

    def check_stream(self, asked: Asked, events: Sequence[GenerationEvent], told: Batches) -> None:
        """Joining the stream gives the whole object, and nothing is left open or told twice."""
        client = self.read(asked, told)
        assert client.error is None
        assert client.closed, "the stream did not end"
        whole = gathered(self.make(asked), events)
        if not asked.usage:
            del whole["usage"]
        assert client.whole() == whole

    def check_content(
        self, asked: Asked, output: Output, events: Sequence[GenerationEvent]
    ) -> dict[str, Any]:
        """The whole object says what the engine said."""
        whole = gathered(self.make(asked), events)
        for choice in range(asked.choices):
            assert self.dialect.reading(whole, choice) == self.dialect.expected(output, choice)
        done = output.done
        spent = (done.prompt_tokens, done.cached_tokens, done.completion_tokens)
        assert self.dialect.usage(whole) == spent
        return whole

    def check_failure(self, asked: Asked, told: Batches, failure: Failure) -> None:
        """A stream that fails ends with the dialect's error and with nothing that looks good."""
        client = self.read(asked, [*told, (failure,)])
        assert client.error is not None, "the client was not told"
        assert client.error["message"] == failure.message
        assert client.error["type"]
        assert client.error["request_id"] == REQUEST_ID
        assert client.signs == [], "a broken stream looks like a good one"
        assert not client.closed


def check(subject: Subject, examples: int) -> None:
    """Try every property on that many answers, the same each time."""
    dialect = subject.dialect

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        choices = data.draw(st.integers(1, dialect.choices))
        asked = Asked(choices, data.draw(st.booleans()) if dialect.choices > 1 else True)
        output = data.draw(outputs(chat=dialect.chat, choices=choices))
        events, other = data.draw(cuttings(output)), data.draw(cuttings(output))
        told = data.draw(batches(events))
        subject.check_stream(asked, events, told)
        whole = subject.check_content(asked, output, events)
        assert gathered(subject.make(asked), other) == whole
        code = data.draw(st.sampled_from(list(FailureCode)))
        cut = data.draw(st.integers(0, len(told) - 1))
        begun = [batch for batch in told[:cut] if output.done not in batch]
        subject.check_failure(asked, begun, Failure(code, "it broke"))

    hold()
