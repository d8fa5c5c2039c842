"""The rules of sampling, written down as plainly as possible: one row, one token at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_runtime.torch_backend.draw_request import DrawRequest


def adjusted(row: Sequence[float], request: DrawRequest) -> list[float]:
    """Mask, bias and penalties, in float32."""
    params = request.params
    scores = [np.float32(score) for score in row]
    if request.mask is not None:
        words = [request.mask[at : at + 4] for at in range(0, len(request.mask), 4)]
        for token in range(len(scores)):
            word = int.from_bytes(words[token // 32], "little") if token // 32 < len(words) else 0
            if not word >> (token % 32) & 1:
                scores[token] = np.float32(-np.inf)
    for token, bias in params.logit_bias:
        scores[token] += np.float32(bias)
    for token in set(request.known):
        penalty = np.float32(params.repetition_penalty)
        scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
    output = list(request.known)[len(request.known) - params.index :]
    for token in set(output):
        less = params.frequency_penalty * output.count(token) + params.presence_penalty
        scores[token] -= np.float32(less)
    return [float(score) for score in scores]


def kept(mass: Sequence[float], request: DrawRequest) -> list[int]:
    """The tokens that may be drawn."""
    params = request.params
    best = sorted(mass, reverse=True)
    floor = float(np.float32(best[0]) * np.float32(params.min_p))
    if 0 < params.top_k < len(mass):
        floor = max(floor, best[params.top_k - 1])
    if params.top_p < 1:
        best = [each for each in best if each >= floor]
        total = sum_of(best) if floor > 0 else 1.0
        reached = 0.0
        for each in best:
            reached += each
            if reached >= params.top_p * total:
                floor = each
                break
    return [token for token, each in enumerate(mass) if each >= floor]


def draw(mass: Sequence[float], request: DrawRequest) -> int:
    """The token that is drawn."""
    tokens = kept(mass, request)
    target = request.uniform() * sum_of([mass[token] for token in tokens])
    reached = 0.0
    for token in tokens:
        reached += mass[token]
        if reached > target:
            return token
    return max(token for token in tokens if mass[token] > 0)


def sum_of(values: Sequence[float]) -> float:
    """The sum from left to right; ``sum`` itself rounds better than that."""
    total = 0.0
    for value in values:
        total += value
    return total
