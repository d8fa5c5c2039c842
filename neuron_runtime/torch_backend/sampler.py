"""Chooses the next tokens of a batch from its logits, on the device that holds them.

Order of operations: mask, logit bias, penalties, temperature, min_p, top_k, top_p, draw. A row's
outcome depends on that row and its request only, never on its neighbours or on its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from neuron_runtime.torch_backend.device_draw import draw_rows
from neuron_runtime.torch_backend.draw_request import DrawRequest
from neuron_runtime.torch_backend.host_draw import draw_row
from neuron_runtime.torch_backend.token_logprobs import token_logprobs
from transports.schemas.group import SampledToken

__all__ = ["DrawRequest", "Sampler"]


@final
class Sampler:
    """Draws one token for each row of logits. Keeps nothing between calls."""

    def draw(self, logits: torch.Tensor, requests: Sequence[DrawRequest]) -> list[SampledToken]:
        """Return a token for each request, in order.

        ``temperature`` 0 takes the best score, the lowest id among equals. Log probabilities are
        the model's own, before anything that a request asks for.

        Args:
            logits: (requests, vocabulary), any floating type and device; left as they are.
            requests: One for each row.
        """
        tokens = _choose(logits, requests)
        if all(each.params.logprobs < 0 for each in requests):
            return [
                SampledToken(each.sequence, token)
                for each, token in zip(requests, tokens, strict=True)
            ]
        found = token_logprobs(logits, tokens, [each.params.logprobs for each in requests])
        return [
            SampledToken(each.sequence, token, known.logprob, known.top)
            for each, token, known in zip(requests, tokens, found, strict=True)
        ]


def _choose(logits: torch.Tensor, requests: Sequence[DrawRequest]) -> list[int]:
    special = [row for row, each in enumerate(requests) if not each.is_plain]
    tokens: list[int]
    if logits.device.type != "cpu":
        if special:
            return draw_rows(logits.to(torch.float32, copy=True), requests)
        tokens = logits.argmax(-1).tolist()
        return tokens
    scores = logits.float().numpy()
    # PERF: numpy finds the place of a maximum many times faster than torch does on a CPU.
    tokens = scores.argmax(-1).tolist() if len(special) < len(requests) else [0] * len(requests)
    for row in special:
        tokens[row] = draw_row(scores[row].copy(), requests[row])
    return tokens
