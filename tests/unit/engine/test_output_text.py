"""Detokenizer, stop strings, and both together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders

from neuron_runtime.engine.detokenizer import Decoder, Detokenizer
from neuron_runtime.engine.output_text import OutputText
from neuron_runtime.engine.stop import StopMatcher
from neuron_runtime.engine.tokenizer import Tokenizer
from tests.unit.engine.parsing import cut
from tests.unit.engine.tiny_model import END, FIRST_WORD, START, make_tokenizer

BYTES = Tokenizer(make_tokenizer(), {}, None)
_metaspace = make_tokenizer()
_metaspace.decoder = decoders.Sequence(
    [decoders.Replace("Ġ", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
STRIPPING = Tokenizer(_metaspace, {}, None)

any_tokens = st.lists(st.integers(0, FIRST_WORD + 39), max_size=40)
some_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def pieces(tokenizer: Decoder, ids: Sequence[int], before: Sequence[int] = ()) -> list[str]:
    detokenizer = Detokenizer(tokenizer, before=before)
    return [*(detokenizer.push(token) for token in ids), detokenizer.flush()]


@given(any_tokens)
def test_joined_pieces_equal_the_decoding_of_the_whole(ids: list[int]) -> None:
    assert "".join(pieces(BYTES, ids)) == BYTES.decode(ids)


@given(st.lists(st.sampled_from([*BYTES.encode("é€🙂!"), FIRST_WORD]), max_size=80))
def test_bytes_in_any_order_are_decoded_as_the_whole(ids: list[int]) -> None:
    assert "".join(pieces(BYTES, ids)) == BYTES.decode(ids)


class CountingDecoder:
    """Counts the tokens that it decodes."""

    special_ids: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.count = 0

    def decode(self, ids: Sequence[int]) -> str:
        self.count += len(ids)
        return BYTES.decode(ids)


@pytest.mark.parametrize("end", [0, -1])
def test_broken_characters_without_end_are_shown_and_cost_no_more_each_time(end: int) -> None:
    decoder = CountingDecoder()
    broken = [BYTES.encode("é")[end]] * 1000

    shown = pieces(decoder, broken)

    assert "".join(shown) == "\ufffd" * 1000
    assert max(map(len, shown)) < 20
    assert decoder.count < 100 * len(broken)


@given(any_tokens)
def test_a_decoder_that_looks_at_its_left_is_served_too(ids: list[int]) -> None:
    assert "".join(pieces(STRIPPING, ids)) == STRIPPING.decode(ids)


@given(any_tokens, any_tokens)
def test_an_output_that_goes_on_from_a_text_is_what_comes_after_it(
    before: list[int], ids: list[int]
) -> None:
    shown = STRIPPING.decode(before)

    assert shown + "".join(pieces(STRIPPING, ids, before)) == STRIPPING.decode([*before, *ids])


def test_half_a_character_before_the_output_is_not_its_own() -> None:
    first, second = BYTES.encode("é")

    assert "".join(pieces(BYTES, [second, *BYTES.encode("!")], [first])) == "\ufffd!"


@given(some_text)
def test_no_piece_ever_holds_a_broken_character(text: str) -> None:
    shown = pieces(BYTES, BYTES.encode(text))

    assert "".join(shown) == text
    assert all("\ufffd" not in piece for piece in shown) or "\ufffd" in text


def test_a_character_of_four_tokens_appears_with_its_last() -> None:
    assert pieces(BYTES, BYTES.encode("🙂!")) == ["", "", "", "🙂", "!", ""]


def test_special_tokens_are_silent() -> None:
    assert pieces(BYTES, [START, FIRST_WORD, END, FIRST_WORD]) == [
        "",
        f" w{FIRST_WORD}",
        "",
        f" w{FIRST_WORD}",
        "",
    ]


def until_stop(text: str, stops: Sequence[str]) -> str:
    """The oracle: read character by character, until some stop string is complete."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(len(stop) for stop in found)]
    return text


small_text = st.text("abc", max_size=30)
small_stops = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


@given(small_text, small_stops, st.lists(st.integers(0, 100), max_size=8))
def test_stops_are_found_whatever_the_pieces(
    text: str, stops: list[str], borders: list[int]
) -> None:
    matcher = StopMatcher(stops)
    shown = ""
    for piece in cut(text, borders):
        shown += matcher.push(piece)
        assert until_stop(text, stops).startswith(shown), "part of a stop string was shown"
    shown += matcher.flush()

    assert shown == until_stop(text, stops)
    assert matcher.matched == (until_stop(text, stops) != text)


def test_without_stops_nothing_is_held_back() -> None:
    matcher = StopMatcher()

    assert matcher.push("abc") == "abc"
    assert matcher.flush() == ""


def test_only_what_may_become_a_stop_is_held_back() -> None:
    matcher = StopMatcher(["END"])

    assert matcher.push("the E") == "the "
    assert matcher.push("N") == ""
    assert matcher.push("V") == "ENV"
    assert matcher.push("..END..") == ".."
    assert matcher.matched
    assert matcher.push("more") == ""


@given(any_tokens, st.lists(st.text("w259 a\ufffd", min_size=1, max_size=3), max_size=2))
def test_deltas_cover_tokens_without_gaps(ids: list[int], stops: list[str]) -> None:
    output = OutputText(BYTES, stops)
    deltas = []
    for token in ids:
        deltas.append(output.push(token))
        if output.stopped:
            break
    deltas.append(output.finish())
    real = [delta for delta in deltas if delta is not None]

    covered = [token for delta in real for token in delta.tokens]
    assert covered == ids[: len(covered)]
    assert [delta.index for delta in real] == [
        sum(len(earlier.tokens) for earlier in real[:number]) for number in range(len(real))
    ]
    assert "".join(delta.text for delta in real) == until_stop(BYTES.decode(ids), stops)


@pytest.mark.parametrize("stops", [(), ("X",)])
def test_an_unfinished_character_ends_as_a_replacement(stops: tuple[str, ...]) -> None:
    output = OutputText(BYTES, stops)
    first, *_ = BYTES.encode("é")

    assert output.push(first) is None
    delta = output.finish()

    assert delta is not None
    assert (delta.text, delta.index, delta.tokens) == ("\ufffd", 0, (first,))


@pytest.mark.parametrize(
    ("stops", "parallel", "expected"),
    [((), True, False), (("stop",), True, True), ((), False, True)],
)
def test_only_a_stop_string_or_a_second_call_ends_a_text_before_its_tokens(
    stops: tuple[str, ...], parallel: bool, expected: bool
) -> None:
    assert OutputText(BYTES, stops, parallel=parallel).may_stop is expected
