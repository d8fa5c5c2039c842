"""Log probabilities as clients see them: with the text and the bytes of each token. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from neuron_runtime.engine.events import Drawn
from transports.schemas.generate import TokenLogprob, TopLogprob

_MOST_REMEMBERED = 50_000


@final
class TokenLogprobs:
    """Names tokens; each is decoded once. ``bytes_of`` returns what a token stands for."""

    def __init__(self, bytes_of: Callable[[int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._known: dict[int, tuple[str, bytes]] = {}

    def of(self, drawn: Drawn) -> TokenLogprob | None:
        """Return the log probabilities of a token, if it has any."""
        if drawn.logprob is None:
            return None
        top = tuple(self._alternative(token, logprob) for token, logprob in drawn.top)
        text, raw = self._name(drawn.token)
        return TokenLogprob(text, drawn.logprob, raw, top)

    def _alternative(self, token: int, logprob: float) -> TopLogprob:
        text, raw = self._name(token)
        return TopLogprob(text, logprob, raw)

    def _name(self, token: int) -> tuple[str, bytes]:
        known = self._known.get(token)
        if known is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            raw = self._bytes_of(token)
            known = self._known[token] = (raw.decode(errors="replace"), raw)
        return known
