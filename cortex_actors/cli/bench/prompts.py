"""Prompts of a given length that no cache has seen before; pure."""

from __future__ import annotations

import random
from typing import final

_COMMON = (
    "time year people way day man thing woman life child world school state family student group"
    " country problem hand part place case week company system program question work government"
    " number night point home water room mother area money story fact month lot right study book"
    " eye job word business issue side kind head house service friend father power hour game line"
    " end member law car city community name president team minute idea kid body information back"
    " parent face others level office door art war history party result change"
    " morning reason research girl guy moment air teacher force education"
)
_WORDS = tuple(_COMMON.split())
"""Each is one token after a space in the usual vocabularies."""


@final
class Prompts:
    """Distinct prompts, the same again for the same seed.

    Args:
        seed: Another seed gives other prompts, and another prefix, from the first word on.
        tokens: About how many tokens each has; the chat template's own come on top.
        prefix_tokens: How many of them, at the start, are the same in all prompts.

    Raises:
        ValueError: The prefix leaves nothing to tell prompts apart.
    """

    def __init__(self, seed: int, tokens: int, prefix_tokens: int = 0) -> None:
        if not 0 <= prefix_tokens < tokens:
            raise ValueError(f"a prefix of {prefix_tokens} in a prompt of {tokens} tokens")
        self._seed = seed
        self._own_tokens = tokens - prefix_tokens
        self._prefix = _words(f"{seed}/prefix", prefix_tokens)

    def prompt(self, number: int) -> str:
        """Return prompt ``number``."""
        return " ".join((*self._prefix, *_words(f"{self._seed}/{number}", self._own_tokens)))


def _words(seed: str, count: int) -> list[str]:
    return random.Random(seed).choices(_WORDS, k=count)  # noqa: S311 - no secrets
