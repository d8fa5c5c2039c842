"""Turning output tokens into text while they arrive. Pure.

A token may end inside a character; its text is held back until the character is whole, so broken
UTF-8 is never shown. Joining what ``push`` and ``flush`` return gives the decoding of all tokens
at once. (One exception, by the nature of SentencePiece's byte fallback: it decodes a run of
bytes with a mistake in it to one U+FFFD per byte, even for good characters shown before.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, final

from neuron_runtime.engine.token_bytes import LONGEST_CHARACTER

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_MOST_HELD = 4 * LONGEST_CHARACTER


class Decoder(Protocol):
    """What the detokenizer needs of a tokenizer."""

    @property
    def special_ids(self) -> frozenset[int]:
        """Tokens that have no text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``, special tokens left out."""
        ...


@final
class Detokenizer:
    """The text of one output stream.

    Decoding starts one finished piece back, because a token's text may depend on the token before
    it (a leading space, say). Special tokens have no text, but for those in ``visible``. ``before``
    are the last tokens of a text that the output goes on from, if it does.
    """

    __slots__ = ("_decoder", "_ids", "_shown", "_shown_text", "_visible")

    def __init__(
        self,
        decoder: Decoder,
        visible: Mapping[int, str] | None = None,
        before: Sequence[int] = (),
    ) -> None:
        self._decoder = decoder
        self._visible = visible or {}
        self._ids = list(before)
        self._shown = len(before)
        self._shown_text = decoder.decode(before)
        if self._shown_text.endswith(_UNFINISHED):
            self._forget()

    def push(self, token: int) -> str:
        """Take the next token; return the text that has become certain, often none."""
        marker = self._visible.get(token)
        if marker is not None:
            return self._start_anew() + marker
        if token in self._decoder.special_ids:
            return ""
        self._ids.append(token)
        text = self._decoder.decode(self._ids)
        if text.endswith(_UNFINISHED):
            return self._show_broken(text)
        return self._show(text) if len(text) > len(self._shown_text) else ""

    def flush(self) -> str:
        """Return what was held back; the output is over."""
        if self._shown == len(self._ids):
            return ""
        return self._show(self._decoder.decode(self._ids))

    def _start_anew(self) -> str:
        held = self.flush()
        self._forget()
        return held

    def _forget(self) -> None:
        self._ids.clear()
        self._shown, self._shown_text = 0, ""

    def _show_broken(self, text: str) -> str:
        """Show what no further token can mend of a text that ends within a character.

        Of a few tokens nothing yet; but a model may write such bytes without end, and decoding all
        of them each time would cost the square of their number.
        """
        if len(self._ids) - self._shown < _MOST_HELD:
            return ""
        held = self._ids[1 - LONGEST_CHARACTER :]
        broken = self._decoder.decode(self._ids[: 1 - LONGEST_CHARACTER])
        if not text.startswith(broken) or len(broken) <= len(self._shown_text):
            return ""
        del self._ids[1 - LONGEST_CHARACTER :]
        new = self._show(broken)
        self._ids += held
        return new

    def _show(self, text: str) -> str:
        new = text[len(self._shown_text) :]
        del self._ids[: self._shown]
        self._shown = len(self._ids)
        self._shown_text = self._decoder.decode(self._ids)
        return new
