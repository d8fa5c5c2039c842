"""How a layer's scores become weights."""

from __future__ import annotations

from typing import final

import torch


@final
class AttentionRules:
    """Scale, window, cap and sinks of one layer.

    Args:
        scale: What products of queries and keys are multiplied by.
        window: How many tokens back a token sees, itself included; 0 is all.
        softcap: What scores are bent below, if anything.
        sinks: A further score for each head, whose weight goes nowhere, if there are any.
    """

    __slots__ = ("scale", "sinks", "softcap", "window")

    def __init__(
        self, scale: float, window: int, softcap: float | None, sinks: torch.Tensor | None
    ) -> None:
        self.scale, self.window = scale, window
        self.softcap, self.sinks = softcap, sinks

    def weigh(self, scores: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return the weights [sequences, kv heads, group, rows, positions], in float32.

        ``position`` [sequences, rows] is where each row is, counted as the scores' places are.
        """
        scores = scores.float() * self.scale
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        hidden = hidden_places(scores.shape[-1], position, self.window)
        return self._weights(scores.masked_fill(hidden[:, None, None], -torch.inf))

    def weigh_biased(self, scores: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Like ``weigh``, where float32 ``bias`` is 0 for what is seen and minus infinity else.

        PERF: one operator where ``weigh`` has several, since all layers have one bias.
        """
        if self.softcap is None:
            return self._weights(torch.add(bias, scores, alpha=self.scale))
        bent = torch.tanh(scores.float() * (self.scale / self.softcap))
        return self._weights(torch.add(bias, bent, alpha=self.softcap))

    def _weights(self, scores: torch.Tensor) -> torch.Tensor:
        if self.sinks is None:
            return scores.softmax(-1)
        sinks = self.sinks.float().reshape(1, scores.shape[1], scores.shape[2], 1, 1)
        sinks = sinks.expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sinks), -1).softmax(-1)[..., :-1]


def hidden_places(count: int, position: torch.Tensor, window: int) -> torch.Tensor:
    """Return which of ``count`` places rows [...] do not see: [..., places]."""
    place = torch.arange(count, device=position.device)
    hidden = place > position[..., None]
    if window:
        hidden |= place <= position[..., None] - window
    return hidden
