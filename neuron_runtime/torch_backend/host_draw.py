"""Draws a token from one row of scores in this host's memory, with numpy.

The filters come down to one number, the least mass that may still be drawn: min_p keeps what has
at least that share of the likeliest's; top_k keeps the best k; of what these leave, top_p keeps the
likeliest until their sum reaches that share of it. Equal masses are kept or dropped together, so
nothing depends on the order in which a sort finds them; what is kept is then drawn from in the
order of token ids.

PERF: one row at a time stays in a core's cache, a whole batch does not. Most of torch's operators
are slower than numpy's on one row, or split it among threads that then wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
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
    scaled = torch.from_numpy(scores / np.float32(request.temperature))
    mass = torch.softmax(scaled, dim=-1).numpy()
    if np.isnan(mass[0]):
        return int(scores.argmax())
    floor = _floor(mass, request)
    if floor <= 0:
        # PERF: the one sum that torch makes faster than numpy.
        sums = torch.from_numpy(mass).cumsum(-1, dtype=torch.float64).numpy()
        return _place(sums, request)
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


def _floor(mass: Floats, request: DrawRequest) -> np.float32:
    """Return the least mass that is kept; 0 keeps everything."""
    params = request.params
    floor = np.float32(0)
    if params.min_p > 0:
        floor = mass.max() * np.float32(params.min_p)
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
        best, sums = _likeliest(mass, params.top_p)
        total = np.float64(1)
    last = min(int(np.searchsorted(sums, params.top_p * total)), len(best) - 1)
    return max(floor, best[last])


def _likeliest(mass: Floats, share: float) -> _InOrder:
    """Return the largest masses that make up ``share``, and perhaps more.

    Sorting a whole vocabulary takes longer than all else together, and is hardly ever needed.
    """
    # All tokens below the second of these have less mass together than top_p leaves out.
    for least in (_LIKELY, (1 - share) / (2 * len(mass))):
        found = _in_order(mass[mass >= np.float32(least)])
        if len(found[1]) and found[1][-1] >= share:
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
