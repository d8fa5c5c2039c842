"""What a rank does on a GPU, done on a CPU: its ways to attend, and graphs recorded on a tape."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neuron_runtime.torch_backend.attention.choice import LayerNeeds, Way, choose_attention
from tests.torch.tape_recorder import TapeRecorder

_BACKEND = "neuron_runtime.torch_backend"


def compute_like_a_gpu(
    patch: pytest.MonkeyPatch, recorder: TapeRecorder | None
) -> TapeRecorder | None:
    """Let models that are loaded from now on attend as on a GPU, and be recorded if told how."""

    def choose(needs: LayerNeeds) -> tuple[Way, str]:
        return choose_attention(replace(needs, device="cuda"))

    patch.setattr(f"{_BACKEND}.model_builder.kernels", lambda: None)
    patch.setattr(f"{_BACKEND}.paged_attention.choose_attention", choose)
    patch.setattr(f"{_BACKEND}.model_builder.decode_recorder", lambda *_, **__: recorder)
    return recorder
