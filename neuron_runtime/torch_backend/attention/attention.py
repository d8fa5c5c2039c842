"""One way to attend: the seam between a model's layers and what computes."""

from __future__ import annotations

from typing import Protocol

import torch

from neuron_runtime.torch_backend.attention.rules import AttentionRules


class Attention(Protocol):
    """Attends for the rows of one step, over one cache. Main thread only."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rules: AttentionRules,
    ) -> torch.Tensor:
        """Keep the rows' keys and values, and return what their queries see.

        Args:
            layer: Of the cache.
            query: [heads, rows, dim]; neighbouring heads share a key-value head.
            key: [kv heads, rows, dim].
            value: The same.
            rules: How scores become weights.

        Returns:
            [rows, heads, dim].

        Raises:
            MemoryError, torch.OutOfMemoryError: Nothing was kept that a repetition would harm.
        """
        ...
