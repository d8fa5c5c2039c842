"""Log probabilities of drawn tokens and of the likeliest alternatives, as the model gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

# JSON has neither infinity nor NaN; this is OpenAI's word for a log probability that is none.
_LEAST = -9999.0


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Of the drawn token, None if not asked for; and (token, log probability) pairs, best first."""

    logprob: float | None
    top: tuple[tuple[int, float], ...]


def token_logprobs(
    logits: torch.Tensor, tokens: Sequence[int], wanted: Sequence[int]
) -> list[TokenLogprobs]:
    """Return what each row reports.

    Args:
        logits: (rows, vocabulary).
        tokens: The drawn token of each row.
        wanted: How many alternatives each row reports; -1 for nothing at all.
    """
    rows = [row for row, count in enumerate(wanted) if count >= 0]
    chosen = torch.tensor([tokens[row] for row in rows], device=logits.device)
    logprobs = torch.log_softmax(logits[rows].float(), dim=-1)
    own = logprobs.gather(1, chosen[:, None])[:, 0].tolist()
    tops = _tops(logprobs, [wanted[row] for row in rows])
    found = [TokenLogprobs(None, ())] * len(wanted)
    for row, logprob, top in zip(rows, own, tops, strict=True):
        # In this order, since max() keeps its first argument unless the other is larger: a row that
        # is no numbers gives NaN.
        found[row] = TokenLogprobs(max(_LEAST, logprob), top)
    return found


def _tops(logprobs: torch.Tensor, counts: Sequence[int]) -> list[tuple[tuple[int, float], ...]]:
    """Return each row's best ``counts``; among equals those of the lowest ids."""
    most = min(max(counts), logprobs.shape[1])
    if most == 0:
        return [()] * len(counts)
    least = logprobs.topk(most).values[:, -1:]
    # Which of several equal values topk picks is its own affair, so pick again, by value.
    rows, tokens = (logprobs >= least).nonzero(as_tuple=True)
    entries: list[list[tuple[float, int]]] = [[] for _ in counts]
    values = logprobs[rows, tokens].tolist()
    for row, token, value in zip(rows.tolist(), tokens.tolist(), values, strict=True):
        entries[row].append((-value, token))
    return [
        tuple((token, max(-value, _LEAST)) for value, token in sorted(found)[:count])
        for found, count in zip(entries, counts, strict=True)
    ]
