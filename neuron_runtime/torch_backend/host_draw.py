"""Draws a token from one row of scores in this host's memory, with numpy.

The filters come down to one number, the least mass that may still be drawn: min_p keeps what has
at least that share of the likeliest's; top_k keeps the best k; of what these leave, top_p keeps the
likeliest until their sum reaches that share of it. Equal masses are kept or dropped together, so
nothing depends on the order in which a sort finds them; what is kept is then drawn from in the
order of token ids.

PERF: one row at a time stays in a core's cache, a whole batch does not; and for single rows numpy
is several times faster than torch, and waits for no pool of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neuron_runtime.torch_backend.draw_request import DrawRequest
from transports.schemas.group import SampleParams

_LIKELY = 1e-4

Floats = NDArray[np.float32]
_InOrder = tuple[Floats, NDArray[np.float64]]
"""Masses, the largest first, and their sums up to each."""


def draw_row(scores: Floats, request: DrawRequest) -> int:
    """Return the token for one row of scores, which may be changed.

    Where they are no numbers, or all minus infinity, it is the best of them.
    """
    _adjust(scores, request)
    if request.is_greedy:
        return int(scores.argmax())
    best = scores.max()
    if not np.isfinite(best):
        return int(scores.argmax())
    mass = (scores - best) / np.float32(request.temperature)
    np.exp(mass, out=mass)
    floor = _floor(mass, float(mass.sum()), request)
    if floor <= 0:
        return _place(np.cumsum(mass.astype(np.float64)), request)
    kept = np.flatnonzero(mass >= floor)
    return int(kept[_place(np.cumsum(mass[kept], dtype=np.float64), request)])


def _adjust(scores: Floats, request: DrawRequest) -> None:
    """Apply mask, bias and penalties; a bias for a token that there is not is ignored."""
    params = request.params
    if request.mask is not None:
        _forbid(scores, request.mask)
    for token, bias in params.logit_bias:
        if 0 <= token < len(scores):
            scores[token] += np.float32(bias)
    if params.repetition_penalty != 1.0:
        ids = np.unique(_ids(request.known))
        old, penalty = scores[ids], np.float32(params.repetition_penalty)
        scores[ids] = np.where(old > 0, old / penalty, old * penalty)
    if params.frequency_penalty or params.presence_penalty:
        _penalise_output(scores, request.output, params)


def _forbid(scores: Floats, mask: bytes) -> None:
    # The frame's words are little-endian, so bit i of byte b is token 8 * b + i.
    bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little")
    known = min(len(bits), len(scores))
    np.copyto(scores[:known], -np.inf, where=bits[:known] == 0)
    scores[known:] = -np.inf


def _penalise_output(scores: Floats, output: Sequence[int], params: SampleParams) -> None:
    ids, counts = np.unique(_ids(output), return_counts=True)
    less = params.frequency_penalty * counts + params.presence_penalty
    scores[ids] -= less.astype(np.float32)


def _ids(tokens: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(tokens, dtype=np.int64)


def _floor(mass: Floats, total: float, request: DrawRequest) -> np.float32:
    """Return the least mass that is kept; the likeliest's is 1."""
    params = request.params
    floor = np.float32(params.min_p)
    limit = request.limit(len(mass))
    if limit:
        worst = len(mass) - limit
        floor = max(floor, np.partition(mass, worst)[worst])
    if params.top_p >= 1:
        return floor
    if floor > 0:
        best, sums = _in_order(mass[mass >= floor])
        total = sums[-1]
    else:
        best, sums = _likeliest(mass, total, params.top_p)
    last = min(int(np.searchsorted(sums, params.top_p * total)), len(best) - 1)
    return max(floor, best[last])


def _likeliest(mass: Floats, total: float, share: float) -> _InOrder:
    """Return the largest masses that have ``share`` of the total, and perhaps more.

    Sorting a whole vocabulary takes longer than all else together, and is hardly ever needed.
    """
    # All tokens below the second of these have less mass together than top_p leaves out.
    for least in (_LIKELY, (1 - share) / (2 * len(mass))):
        found = _in_order(mass[mass >= np.float32(least * total)])
        if len(found[1]) and found[1][-1] >= share * total:
            return found
    return _in_order(mass)  # only rounding leads here, with a top_p next to 1


def _in_order(mass: Floats) -> _InOrder:
    best = np.sort(mass)[::-1]
    return best, np.cumsum(best, dtype=np.float64)


def _place(sums: NDArray[np.float64], request: DrawRequest) -> int:
    total = sums[-1]
    # Rounding must not move the target past the last token that has any mass.
    target = min(request.uniform() * total, np.nextafter(total, 0.0))
    return int(np.searchsorted(sums, target, side="right"))
