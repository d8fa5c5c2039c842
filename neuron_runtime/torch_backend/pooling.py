"""From the states of a padded batch to one vector per sequence, in float32."""

from __future__ import annotations

import torch

from neuron_runtime.embedding_recipe import Pooling


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Return the pooled states, (sequences, width).

    Args:
        states: (sequences, tokens, width), padded on the right.
        mask: (sequences, tokens), 1 for a token and 0 for padding; no row is all padding.
        pooling: What to make of a sequence's states.
    """
    states = states.float()
    match pooling:
        case Pooling.CLS:
            return states[:, 0]
        case Pooling.LAST:
            rows = torch.arange(len(states), device=states.device)
            return states[rows, mask.sum(dim=1) - 1]
        case Pooling.MAX:
            return states.masked_fill(mask[..., None] == 0, -torch.inf).amax(dim=1)
        case Pooling.MEAN:
            weights = mask[..., None].float()
            return (states * weights).sum(dim=1) / weights.sum(dim=1)
