"""Where one output is in its grammar."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import count
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from llguidance import LLMatcher


@final
class GrammarMask:
    """Which tokens may come next: the ``TokenMask`` of a constrained output.

    While ``suspended`` says so, as in a model's reasoning, every token may come and none counts.
    """

    __slots__ = ("_end_ids", "_matcher", "_row_bytes", "_vocabulary", "suspended")

    def __init__(self, matcher: LLMatcher, vocabulary: int, end_ids: Collection[int]) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._row_bytes = 4 * ((vocabulary + 31) // 32)
        self._end_ids = end_ids
        self.suspended: Callable[[], bool] = _never

    def copy(self) -> GrammarMask:
        """Return another output's, which is where this one is; never suspended. Any thread."""
        return GrammarMask(self._matcher.deep_copy(), self._vocabulary, self._end_ids)

    @property
    def may_end(self) -> bool:
        """Whether the output so far is complete."""
        return self._matcher.is_accepting()

    def mask(self) -> bytes | None:
        """Return the row for the next token, one bit for each that the tokenizer has."""
        if self.suspended():
            return None
        row = self._matcher.compute_bitmask()[: self._row_bytes]
        if self._matcher.is_error():
            # The mask would have cost more than any may. The row allows an end token now, which
            # would pass for the end of a complete output; what is allowed here is not accepted.
            token = next(each for each in count() if each not in self._end_ids)
            return (1 << token).to_bytes(self._row_bytes, "little")
        return row

    def accept(self, token: int) -> bool:
        """Take the token that was drawn; False if it was not allowed."""
        return self.suspended() or self._matcher.consume_token(token)


def _never() -> bool:
    return False
