from __future__ import annotations

import json
from typing import Any

from tests.soak.history import End
from tests.soak.reading import Reading


def chunk(text: str | None = None, finish: str | None = None) -> str:
    delta = {} if text is None else {"content": text}
    return data({"choices": [{"delta": delta, "finish_reason": finish}], "usage": None})


def data(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event)}"


USAGE = data({"choices": [], "usage": {"completion_tokens": 2}})
ERROR = data({"error": {"code": "link_lost"}})
DONE = "data: [DONE]"


def read(*lines: str) -> Reading:
    reading = Reading()
    for line in lines:
        reading.line(line)
    return reading


def test_a_stream_is_read_to_its_end() -> None:
    reading = read(
        chunk(""), ": ping", "", chunk(" w1"), chunk(" w2"), chunk(None, "length"), USAGE, DONE
    )

    assert (reading.text, reading.ends, reading.finish) == (" w1 w2", [End.FINISHED], "length")
    assert (reading.counted, reading.closing, reading.late) == (2, True, False)


def test_an_error_event_is_an_end() -> None:
    reading = read(chunk(" w1"), ERROR)

    assert (reading.ends, reading.detail) == ([End.FAILED], "link_lost")


def test_what_comes_after_the_end_is_late() -> None:
    assert read(chunk(" w1", "length"), chunk(" w2")).late
    assert read(chunk(" w1", "length"), DONE, USAGE).late
    assert read(chunk(" w1", "length"), DONE, DONE).late
    assert read(ERROR, chunk(" w1")).late


def test_every_end_is_kept() -> None:
    assert read(chunk(None, "length"), ERROR).ends == [End.FINISHED, End.FAILED]


def test_a_connection_that_breaks_before_done_was_cut() -> None:
    reading = read(chunk(" w1", "length"))
    reading.cut("ReadError")

    assert reading.ends == [End.CUT]


def test_a_connection_that_breaks_after_the_end_changes_nothing() -> None:
    for reading in (read(chunk(" w1", "length"), DONE), read(ERROR)):
        ends = list(reading.ends)
        reading.cut("ReadError")
        reading.left()
        assert reading.ends == ends
