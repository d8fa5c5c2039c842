"""Grammars that outputs must follow, compiled for one model's tokenizer with llguidance."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import cached_property
from textwrap import shorten
from threading import Lock
from typing import final

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from neuron_runtime.engine.grammar_mask import GrammarMask

_KEPT = 32
_SHOWN = 200
# A state takes up to 2 kB, and what is kept has them all. Errors shall not quote the output.
_LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)


class GrammarError(Exception):
    """A grammar cannot be compiled, or none for this model; says what is wrong with it."""


@final
class Grammars:
    """Compiles grammars and keeps those used last, compiled. Any thread, and several at once.

    A large grammar takes seconds, in which others are compiled and what is kept is used.

    Args:
        definition: Returns the tokenizer as ``tokenizer.json`` holds it.
        end_ids: Tokens that end an output; allowed exactly where the grammar may end.
    """

    def __init__(self, definition: Callable[[], str], end_ids: Collection[int]) -> None:
        self._definition = definition
        self._end_ids = sorted(end_ids)
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = Lock()

    def prepare(self) -> None:
        """Read the tokenizer now, which takes a second for a large one; else the first use does."""
        _ = self._read

    @cached_property
    def _read(self) -> LLTokenizer | str:
        """The tokenizer, or why there is none."""
        if not self._end_ids:
            return "it names no token that ends an output"
        try:
            return LLTokenizer(self._definition(), eos_token=self._end_ids)
        except ValueError as error:
            return str(error)

    def compile(self, grammar: str) -> GrammarMask:
        """Return the mask of an output that follows ``grammar``, which is in Lark.

        Raises:
            GrammarError: The grammar has a fault, is too large, or can never be followed; or this
                model's tokenizer is of a kind that cannot be constrained.
        """
        tokenizer = self._read
        if isinstance(tokenizer, str):
            msg = f"this model's output cannot be constrained: {tokenizer}"
            raise GrammarError(msg)
        with self._lock:
            matcher = self._kept.get(grammar)
        if matcher is None:
            matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
            # The first mask shows what else is wrong, and takes longest; all outputs profit.
            matcher.compute_bitmask()
            if matcher.is_error():
                raise GrammarError(_said(matcher.get_error()))
            _check_beginning(matcher)
        self._keep(grammar, matcher)
        return GrammarMask(matcher.deep_copy(), tokenizer.vocab_size, self._end_ids)

    def _keep(self, grammar: str, matcher: LLMatcher) -> None:
        with self._lock:
            self._kept[grammar] = matcher
            self._kept.move_to_end(grammar)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)


def _check_beginning(matcher: LLMatcher) -> None:
    """Refuse what forces more than the matcher can hold, such as objects within one another.

    The first token would show it, and that is too late: the request has begun by then.
    """
    forced = matcher.compute_ff_tokens()
    if forced and not matcher.deep_copy().consume_token(forced[0]):
        msg = "what it demands from the beginning is too long, or never ends"
        raise GrammarError(msg)


def _said(error: str) -> str:
    """Return the point of one of llguidance's messages, without the place in our own grammar."""
    text = error.partition("\n<")[0]
    if text.startswith("NoExtension"):
        return "no output can follow it"
    text = re.sub(r"^at \d+\(\d+\): ", "", re.sub(r"(?s)\n +\d+ \| .*", "", text))
    text = text.removeprefix("failed to compile JSON schema: ")
    first, _, rest = text.partition("\n")
    cause = rest.rpartition("error: ")[2].strip()
    return shorten(first, _SHOWN, placeholder="...") + (f" {cause}" if cause else "")
