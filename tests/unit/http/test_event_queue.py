from __future__ import annotations

import select

from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.http.event_buffer import LIMIT
from cortex_actors.http.event_queue import EventQueue
from transports.schemas.fleet import ModelState
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure


def put(queue: EventQueue, event: GenerationEvent) -> None:
    if queue.put(event):
        queue.wake()


def readable(queue: EventQueue) -> bool:
    ready, _, _ = select.select([queue.fileno()], [], [], 0)
    return bool(ready)


def test_its_descriptor_is_readable_exactly_while_events_wait() -> None:
    queue = EventQueue()
    assert not readable(queue)
    put(queue, TextDelta("a", 0))
    put(queue, TextDelta("b", 1))
    assert readable(queue)
    assert len(queue.take()) == 2
    assert not readable(queue)
    assert queue.take() == ()
    queue.close()


@given(st.lists(st.text(max_size=3), max_size=4 * LIMIT))
def test_a_lagging_reader_gets_all_text_in_bounded_space(texts: list[str]) -> None:
    queue = EventQueue()
    for index, text in enumerate(texts):
        put(queue, TextDelta(text, index, (index,)))
    done = GenerateDone("stop", 1, len(texts))
    put(queue, done)
    *deltas, last = queue.take()
    queue.close()
    assert last == done
    assert len(deltas) <= LIMIT
    pieces = [delta for delta in deltas if isinstance(delta, TextDelta)]
    assert "".join(piece.text for piece in pieces) == "".join(texts)
    assert [token for piece in pieces for token in piece.tokens] == list(range(len(texts)))


def test_only_the_latest_progress_is_kept() -> None:
    queue = EventQueue()
    for percent in range(100):
        put(queue, ModelState("tiny", "preparing", progress=percent / 100))
    assert [getattr(event, "progress", None) for event in queue.take()] == [0.99]
    queue.close()


def test_the_reader_is_woken_once_for_all_that_came() -> None:
    queue = EventQueue()
    assert not queue.put(Started("tiny", "local"))
    assert [queue.put(TextDelta("a", index)) for index in range(3)] == [True, False, False]
    assert not readable(queue)
    queue.wake()
    assert readable(queue)
    assert len(queue.take()) == 4
    queue.wake()
    assert not readable(queue)
    queue.close()


def test_what_was_taken_before_the_wake_is_not_told_again() -> None:
    queue = EventQueue()
    assert queue.put(TextDelta("a", 0))
    assert len(queue.take()) == 1
    queue.wake()
    assert not readable(queue)
    assert queue.put(TextDelta("b", 1))
    queue.wake()
    assert readable(queue)
    queue.close()


def test_a_put_after_close_goes_nowhere() -> None:
    queue = EventQueue()
    queue.close()
    queue.close()
    put(queue, TextDelta("late", 0))
    assert queue.fileno() == -1
    assert queue.take() == ()


def test_a_reader_that_does_not_stream_is_woken_by_the_last_event_alone() -> None:
    queue = EventQueue(streamed=False)
    assert not any(queue.put(TextDelta("a", index)) for index in range(3))
    assert queue.put(GenerateDone("stop", 1, 3))
    queue.wake()
    assert readable(queue)
    assert len(queue.take()) == 4
    queue.close()


def test_a_failure_wakes_a_reader_that_does_not_stream() -> None:
    queue = EventQueue(streamed=False)
    assert queue.put(Failure("internal", "broken"))
    queue.close()


def test_a_descriptor_that_is_used_again_tells_nothing_of_its_last_user() -> None:
    first = EventQueue()
    put(first, TextDelta("unread", 0))
    first.close()
    second = EventQueue()
    second.close()
    third = EventQueue()
    assert third.fileno() >= 0
    assert not readable(third)
    put(second, TextDelta("late", 0))
    second.wake()
    assert not readable(third)
    third.close()
