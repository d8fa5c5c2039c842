"""Chooses the next token from a row of logits.

The random draw depends only on the request's seed and the token's index in the output, so it is the
same alone, in a batch, and after a replay; it comes from the CPU whatever the device.
"""

from __future__ import annotations

import torch

from transports.schemas.group import SampleParams

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def sample_token(logits: torch.Tensor, params: SampleParams) -> int:
    """Return a token id drawn from one row of logits, of any dtype and device.

    ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 keep all tokens. top_k is applied
    before top_p, as transformers does.
    """
    if params.temperature <= 0:
        return int(logits.argmax())
    scores = logits.detach().to(device="cpu", dtype=torch.float64) / params.temperature
    scores, tokens = _candidates(scores, params)
    mass = torch.softmax(scores, dim=-1).cumsum(-1)
    draw = _uniform(params.seed, params.index) * mass[-1]
    place = int(torch.searchsorted(mass, draw, right=True))
    return int(tokens[min(place, len(tokens) - 1)])


def _candidates(scores: torch.Tensor, params: SampleParams) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scores that may be drawn and their tokens; in order if either filter is on."""
    if 0 < params.top_k < len(scores):
        scores, tokens = torch.topk(scores, params.top_k)
    elif params.top_p < 1:
        scores, tokens = torch.sort(scores, descending=True, stable=True)
    else:
        return scores, torch.arange(len(scores))
    if params.top_p < 1:
        mass = torch.softmax(scores, dim=-1).cumsum(-1)
        # The token with which the mass reaches top_p is still in, so there always is one.
        kept = int(torch.searchsorted(mass, params.top_p)) + 1
        scores, tokens = scores[:kept], tokens[:kept]
    return scores, tokens


def _uniform(seed: int, index: int) -> torch.Tensor:
    """Draw from [0, 1) with a generator seeded from both numbers."""
    generator = torch.Generator(device="cpu")
    generator.manual_seed(_mixed(_mixed(seed) + index) >> 1)
    return torch.rand((), generator=generator, dtype=torch.float64)


def _mixed(value: int) -> int:
    """Spread neighbouring numbers over 64 bits (the finaliser of SplitMix64)."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
