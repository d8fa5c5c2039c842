"""Where one output is in its grammar."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import count
from typing import TYPE_CHECKING, final

from transports.failures import FailureCode
from transports.schemas.link import Failure

if TYPE_CHECKING:
    from llguidance import LLMatcher


@final
class GrammarMask:
    """Which tokens may come next: the ``TokenMask`` of a constrained output.

    While ``suspended`` says so, as in a model's reasoning, every token may come and none counts.
    ``param`` is the field of the question that asks for it.
    """

    __slots__ = (
        "_end_ids",
        "_matcher",
        "_row",
        "_row_bytes",
        "_too_costly",
        "_vocabulary",
        "param",
        "suspended",
    )

    def __init__(self, matcher: LLMatcher, vocabulary: int, end_ids: Collection[int]) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._row_bytes = 4 * ((vocabulary + 31) // 32)
        self._end_ids = end_ids
        self._row = b""
        self._too_costly = False
        self.param = "constraint"
        self.suspended: Callable[[], bool] = _never

    def copy(self) -> GrammarMask:
        """Return another output's, which is where this one is; never suspended. Any thread."""
        other = GrammarMask(self._matcher.deep_copy(), self._vocabulary, self._end_ids)
        other.param = self.param
        return other

    @property
    def failure(self) -> Failure | None:
        """Why a token that was allowed was not accepted: the matcher has come to its limits."""
        if not self._too_costly:
            return None
        message = f"{self.param}: following it any further would take too much computing"
        return Failure(FailureCode.INVALID_REQUEST, message, param=self.param)

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
            self._too_costly = True
            # The mask would have cost more than any may. The row allows an end token now, which
            # would pass for the end of a complete output; what is allowed here is not accepted.
            token = next(each for each in count() if each not in self._end_ids)
            return (1 << token).to_bytes(self._row_bytes, "little")
        self._row = row
        return row

    def accept(self, token: int) -> bool:
        """Take the token that was drawn; False if it was not allowed."""
        if self.suspended() or self._matcher.consume_token(token):
            return True
        at = token >> 3
        # Its limits are those of the tokens that are forced to follow, too.
        self._too_costly |= at < len(self._row) and bool(self._row[at] >> (token & 7) & 1)
        return False


def _never() -> bool:
    return False
