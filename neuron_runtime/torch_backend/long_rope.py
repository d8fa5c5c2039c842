"""LongRoPE for rows of several sequences at once.

A sequence of more tokens than the model was first made for has other rotary frequencies than a
shorter one, from its first token on. transformers decides that by the last position of a whole
batch: a long sequence would change what its neighbours answer, and a long prompt in chunks would
begin as a short one. Here the engine says it of each sequence.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from neuron_runtime.torch_backend.batch import Batch
from neuron_runtime.torch_backend.model_skeleton import UnknownArchitecture
from neuron_runtime.torch_backend.moved import moved

_KIND = "longrope"


def short_context(model: PreTrainedModel) -> int:
    """Return how many tokens a sequence with a model's short frequencies may have; 0 is no limit.

    Raises:
        UnknownArchitecture: Only some of its layers have two kinds of frequencies.
    """
    text = model.config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    if any(isinstance(each, dict) and each.get("rope_type") == _KIND for each in rope.values()):
        raise UnknownArchitecture(
            f"{type(model).__name__} cannot be run: only some of its layers have {_KIND}"
        )
    if rope.get("rope_type") != _KIND:
        return 0
    original = int(rope["original_max_position_embeddings"])
    return original if original < int(text.max_position_embeddings) else 0


@final
class LongRope:
    """Has a model's rotary embeddings tell rows of long sequences from those of short ones."""

    def __init__(self, model: PreTrainedModel, short: int, device: torch.device) -> None:
        self._device = device
        self._ropes = [
            (name, _RowwiseRope(module, short))
            for name, module in model.named_modules()
            if getattr(module, "rope_type", None) == _KIND
        ]
        for name, rope in self._ropes:
            model.set_submodule(name, rope)

    def begin(self, batch: Batch | None) -> None:
        """Take the batch that is fed next.

        None is one of single tokens: each is the last of its sequence, so its position tells.
        """
        rows = None
        if batch is not None:
            flags = [span.long for span in batch.spans for _ in range(span.start, span.end)]
            rows = moved(torch.tensor(flags), self._device)
        for _, rope in self._ropes:
            rope.rows = rows


class _RowwiseRope(nn.Module):
    def __init__(self, whole: Any, short: int) -> None:
        super().__init__()
        self._whole, self._short = whole, short
        self.rows: torch.Tensor | None = None

    def forward(
        self, x: torch.Tensor, position_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and sines; the last position decides which ones the whole returns."""
        of_short = self._whole(x, position_ids.clamp(max=self._short - 1))
        beyond = position_ids.new_full((len(position_ids), 1), self._short)
        of_long = self._whole(x, torch.cat((position_ids, beyond), 1))
        rows = position_ids >= self._short if self.rows is None else self.rows[None]
        cosine, sine = (
            torch.where(rows[..., None], long[:, :-1], short)
            for long, short in zip(of_long, of_short, strict=True)
        )
        return cosine, sine
