from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.dialects.responses.custom_input import CustomInput, arguments_of


def decoded(pieces: list[str]) -> str:
    input_ = CustomInput()
    return "".join(map(input_.feed, pieces)) + input_.finish()


@given(st.text(), st.booleans())
def test_what_was_written_as_arguments_is_read(text: str, ascii_only: bool) -> None:
    written = json.dumps({"input": text}, ensure_ascii=ascii_only)
    assert decoded(list(written)) == text
    assert decoded([written]) == text
    assert decoded([arguments_of(text)]) == text


@given(st.text(), st.data())
def test_pieces_are_never_taken_back(text: str, data: st.DataObject) -> None:
    written = json.dumps({"input": text})
    cut = data.draw(st.integers(0, len(written)))
    assert text.startswith(CustomInput().feed(written[:cut]))


@pytest.mark.parametrize(
    "written", ["just text", '{"other": "x"}', "[1]", '{"input": 3}', "", '{"in']
)
def test_what_is_no_such_object_is_given_as_it_is(written: str) -> None:
    assert decoded([written]) == written
    assert decoded(list(written)) == written


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'{"input": "a\ud800b"}', "a\ufffdb"),
        (r'{"input": "a\udc00b"}', "a\ufffdb"),
        (r'{"input": "\ud83d\ude00"}', "\U0001f600"),
        (r'{"input": "\ud83d\n"}', "\ufffd\n"),
        (r'{"input": "cut \u00', "cut "),
        (r'{"input": "a", "more": "b"}', "a"),
    ],
)
def test_odd_texts(written: str, read: str) -> None:
    assert decoded(list(written)) == read
    assert decoded([written]) == read
