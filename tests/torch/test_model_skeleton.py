"""What cannot run over a paged cache is refused by name, before any weight is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch
import transformers

from neuron_runtime.model_errors import SourceCorrupt
from neuron_runtime.torch_backend.model_skeleton import UnknownArchitecture, make_skeleton

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("config_class", "named", "why"),
    [
        ("MambaConfig", "MambaForCausalLM", "interface"),
        ("Qwen3NextConfig", "Qwen3NextForCausalLM", ""),
        ("Llama4TextConfig", "Llama4ForCausalLM", "chunked_attention"),
        ("DeepseekV3Config", "DeepseekV3ForCausalLM", "compressed"),
        ("BartConfig", "Bart", ""),
        ("ViTConfig", "ViTConfig", ""),
    ],
)
def test_other_architectures_are_refused_without_weights(
    config_class: str, named: str, why: str, tmp_path: Path
) -> None:
    getattr(transformers, config_class)().save_pretrained(tmp_path)
    with pytest.raises(UnknownArchitecture, match=f"{named}.*{why}"):
        make_skeleton(tmp_path, torch.float32, "eager")


@pytest.mark.parametrize(("heads", "kv_heads"), [(5, 2), (2, 4), (4, 0)])
def test_heads_that_cannot_share_key_value_heads_are_refused(
    heads: int, kv_heads: int, tmp_path: Path
) -> None:
    transformers.LlamaConfig(
        hidden_size=40, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=8
    ).save_pretrained(tmp_path)
    with pytest.raises(SourceCorrupt, match=f"its {heads} heads cannot share {kv_heads}"):
        make_skeleton(tmp_path, torch.float32, "eager")


def test_a_skeleton_holds_no_numbers(tmp_path: Path) -> None:
    transformers.Qwen3Config(hidden_size=64, num_hidden_layers=2).save_pretrained(tmp_path)
    model = make_skeleton(tmp_path, torch.float32, "eager")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
