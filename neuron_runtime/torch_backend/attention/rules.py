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

    @property
    def plain(self) -> bool:
        """Whether weights are a softmax of scaled scores, as fused implementations compute it."""
        return self.softcap is None and self.sinks is None

    def weigh(self, scores: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return the weights [sequences, kv heads, group, rows, positions], in float32.

        ``position`` [sequences, rows] is where each row is, counted as the scores' places are.
        """
        scores = scores.float() * self.scale
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        place = torch.arange(scores.shape[-1], device=scores.device)
        hidden = place > position[..., None]
        if self.window:
            hidden |= place <= position[..., None] - self.window
        scores = scores.masked_fill(hidden[:, None, None], -torch.inf)
        if self.sinks is None:
            return scores.softmax(-1)
        sinks = self.sinks.float().reshape(1, scores.shape[1], scores.shape[2], 1, 1)
        sinks = sinks.expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sinks), -1).softmax(-1)[..., :-1]
