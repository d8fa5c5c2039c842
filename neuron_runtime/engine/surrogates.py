"""Halves of surrogate pairs, which JSON can write alone. Pure.

Python's strings hold them; no message, no tokenizer and no text that a client gets can.
"""

from __future__ import annotations


def without_lone_surrogates(text: str) -> str:
    """Return ``text`` with U+FFFD in place of each half that is alone."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
