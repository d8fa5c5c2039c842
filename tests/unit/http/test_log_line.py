from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.http.log_line import log_line


def test_fields_are_told_in_order_and_empty_ones_are_left_out() -> None:
    fields = {"id": "a", "none": None, "empty": "", "zero": 0, "ms": 1.25, "path": "/v1/x?y#z"}
    assert log_line("request", fields) == "request id=a zero=0 ms=1.2 path=/v1/x?y#z"


@pytest.mark.parametrize("text", ["a b", 'a"b', "a=b", "a\nb", "a\tb", "é", "\x7f", "back\\slash"])
def test_what_is_not_plain_is_quoted(text: str) -> None:
    line = log_line("request", {"path": text})
    assert json.loads(line.removeprefix("request path=")) == text


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_text_can_forge_a_field_or_a_line(path: str, model: str) -> None:
    line = log_line("request", {"path": path, "model": model})
    assert line.isascii()
    assert line.splitlines() == [line]
    assert [word.partition("=")[0] for word in shlex.split(line)] == ["request", "path", "model"]
