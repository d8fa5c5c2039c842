from __future__ import annotations

import select

from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.http.event_queue import LIMIT, EventQueue
from transports.schemas.fleet import ModelState
from transports.schemas.generate import GenerateDone, TextDelta


def readable(queue: EventQueue) -> bool:
    ready, _, _ = select.select([queue.fileno()], [], [], 0)
    return bool(ready)


def test_its_descriptor_is_readable_exactly_while_events_wait() -> None:
    queue = EventQueue()
    assert not readable(queue)
    queue.put(TextDelta("a", 0))
    queue.put(TextDelta("b", 1))
    assert readable(queue)
    assert len(queue.take()) == 2
    assert not readable(queue)
    assert queue.take() == ()
    queue.close()


@given(st.lists(st.text(max_size=3), max_size=4 * LIMIT))
def test_a_lagging_reader_gets_all_text_in_bounded_space(texts: list[str]) -> None:
    queue = EventQueue()
    for index, text in enumerate(texts):
        queue.put(TextDelta(text, index, (index,)))
    done = GenerateDone("stop", 1, len(texts))
    queue.put(done)
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
        queue.put(ModelState("tiny", "preparing", progress=percent / 100))
    assert [getattr(event, "progress", None) for event in queue.take()] == [0.99]
    queue.close()


def test_a_put_after_close_goes_nowhere() -> None:
    queue = EventQueue()
    queue.close()
    queue.close()
    queue.put(TextDelta("late", 0))
    assert queue.fileno() == -1
    assert queue.take() == ()
