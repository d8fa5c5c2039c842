"""Which bytes a single token stands for, whatever the kind of its tokenizer. Pure."""

from __future__ import annotations

import re

LONGEST_CHARACTER = 4
"""Bytes of one character in UTF-8, and so tokens at most."""

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """Return the character that byte-level tokenizers write for each byte, printable or not."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(256 + place): byte for place, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | shifted


_ALPHABET = _byte_alphabet()


def token_bytes(token: str, *, byte_level: bool) -> bytes:
    """Return what the vocabulary's entry ``token``, which is no added one, stands for.

    ``byte_level`` vocabularies have a character for each byte; the others write a space as U+2581
    and a byte that is no whole character as ``<0x..>``.
    """
    if byte_level and all(character in _ALPHABET for character in token):
        return bytes(_ALPHABET[character] for character in token)
    if fallback := _BYTE_FALLBACK.fullmatch(token):
        return bytes([int(fallback[1], 16)])
    return token.replace("\u2581", " ").encode()


def missing_bytes(text: bytes) -> int:
    """Return how many bytes the last character of a text in UTF-8, or of its end, lacks."""
    for back, byte in enumerate(reversed(text[-LONGEST_CHARACTER:]), 1):
        if byte < 0x80 or byte >= 0xF8:
            return 0
        if byte >= 0xC0:
            return max(0, 2 + (byte >= 0xE0) + (byte >= 0xF0) - back)
    return 0
