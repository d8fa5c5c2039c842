"""A model whose layers do not all attend is refused before its weights are read, if shapes tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("torch")
import torch
import transformers
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.mixtral import modeling_mixtral

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend.attention_probe import refuse_unattended
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.collectives import Collectives
from neuron_runtime.torch_backend.model_builder import build_model
from neuron_runtime.torch_backend.model_skeleton import UnknownArchitecture, make_skeleton
from neuron_runtime.torch_backend.paged_cache import CacheShape
from neuron_runtime.torch_backend.parallel_plan import PlacementError
from tests.torch.test_backend import SMALL_PROMPT, generate, shard

pytestmark = pytest.mark.torch

SMALL: dict[str, Any] = {
    "vocab_size": 203,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


@pytest.fixture
def backend() -> Iterator[TorchBackend]:
    backend = TorchBackend(on_collective=lambda: None)
    yield backend
    backend.close()


def config(at: Path, kind: str, **more: Any) -> Path:
    getattr(transformers, kind)(**SMALL, **more).save_pretrained(at)
    return at


def skip_layer(monkeypatch: pytest.MonkeyPatch, attention: Any) -> None:
    """Let the layers of a kind of attention compute nothing, but for the first."""
    own = attention.forward

    def forward(self: Any, hidden_states: torch.Tensor, *given: Any, **named: Any) -> Any:
        if self.layer_idx:
            return hidden_states, None
        return own(self, hidden_states, *given, **named)

    monkeypatch.setattr(attention, "forward", forward)


@pytest.mark.parametrize(
    "kind", ["LlamaConfig", "Qwen3Config", "MistralConfig", "Gemma2Config", "Cohere2Config"]
)
def test_a_model_whose_layers_attend_is_let_through_as_it_was(tmp_path: Path, kind: str) -> None:
    model = make_skeleton(config(tmp_path, kind), torch.float32, "eager")
    refuse_unattended(model)
    assert model.config._attn_implementation == "eager"
    assert {each.device.type for each in model.parameters()} == {"meta"}


def test_one_that_has_no_weights_yet_is_refused_for_its_layers(
    backend: TorchBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_layer(monkeypatch, modeling_gemma2.Gemma2Attention)
    with pytest.raises(BackendError, match="Gemma2ForCausalLM cannot be run: 1 of its 3") as why:
        backend.load(shard(config(tmp_path, "Gemma2Config")))
    assert why.value.code == UnknownArchitecture.code


def test_ranks_of_a_group_refuse_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several ranks there is no other check: none may run a pass alone."""
    skip_layer(monkeypatch, modeling_gemma2.Gemma2Attention)
    model = make_skeleton(config(tmp_path, "Gemma2Config"), torch.float32, "eager")
    with pytest.raises(UnknownArchitecture, match="1 of its 3 layers"):
        refuse_unattended(model)


def test_what_shapes_do_not_tell_is_told_by_the_first_pass(
    backend: TorchBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(7)
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    model = transformers.MixtralForCausalLM(transformers.MixtralConfig(**SMALL, **experts))
    model.save_pretrained(tmp_path)
    refuse_unattended(make_skeleton(tmp_path, torch.float32, "eager"))
    backend.load(shard(tmp_path))
    assert len(generate(backend, SMALL_PROMPT, 2)) == 2

    skip_layer(monkeypatch, modeling_mixtral.MixtralAttention)
    other = TorchBackend(on_collective=lambda: None)
    with pytest.raises(BackendError, match="MixtralForCausalLM cannot be run: 1 of its 3"):
        other.load(shard(tmp_path))
    other.close()


BEYOND: dict[str, tuple[dict[str, Any], str]] = {
    # Keys twice, with other values.
    "DiffLlamaConfig": ({}, "layer 0 attends more than once"),
    # Scores that depend on the values.
    "DogeConfig": ({}, "attention masks of their own"),
    # A window that only its masks know.
    "PhimoeConfig": ({"sliding_window": 24}, "what its layers see is in masks"),
    "Gemma3TextConfig": ({"use_bidirectional_attention": True}, "see what follows"),
    "BertConfig": ({}, "see what follows"),
    "MiMoV2FlashConfig": ({"v_head_dim": 8}, r"keys \(1, 2, 1, 16\) and values \(1, 2, 1, 8\)"),
}


@pytest.mark.parametrize("kind", BEYOND)
def test_layers_that_ask_for_more_than_is_known_are_refused_before_any_weight(
    kind: str, backend: TorchBackend, tmp_path: Path
) -> None:
    """Else the answers would be another model's."""
    more, why = BEYOND[kind]
    with pytest.raises(BackendError, match=f"cannot be run: .*{why}"):
        backend.load(shard(config(tmp_path, kind, **more)))


def test_a_window_that_no_context_exceeds_is_none(tmp_path: Path) -> None:
    at = config(tmp_path, "PhimoeConfig", sliding_window=512, max_position_embeddings=512)
    refuse_unattended(make_skeleton(at, torch.float32, "eager"))


def test_layers_of_several_kinds_are_told_apart(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    at = config(tmp_path, "Gemma4TextConfig", layer_types=kinds, global_head_dim=32)
    shapes = refuse_unattended(make_skeleton(at, torch.float32, "eager"))
    assert shapes == (CacheShape(2, 16), CacheShape(2, 16), CacheShape(2, 32))


def test_what_cannot_even_be_made_of_its_config_is_named(
    backend: TorchBackend, tmp_path: Path
) -> None:
    """Not as a mistake of ours, with nothing said about it."""
    transformers.Emu3Config().save_pretrained(tmp_path)
    with pytest.raises(BackendError, match=r"Emu3ForCausalLM cannot be made: .*pad_token_id"):
        backend.load(shard(tmp_path))


def test_what_raises_in_its_first_pass_is_named(backend: TorchBackend, tmp_path: Path) -> None:
    torch.manual_seed(7)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}
    own = transformers.XmodConfig(vocab_size=99, intermediate_size=16, is_decoder=True, **sizes)
    transformers.XmodForCausalLM(own).save_pretrained(tmp_path)
    with pytest.raises(BackendError, match=r"XmodForCausalLM cannot be run: .*language"):
        backend.load(shard(tmp_path))


class TwoRanks:
    """Collectives of a group that is refused before it does anything together."""

    rank, world_size, recordable = 0, 2, False


@pytest.mark.parametrize("experts", [False, True])
def test_layers_of_several_kinds_are_not_divided_among_ranks(experts: bool, tmp_path: Path) -> None:
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    more: dict[str, Any] = {"layer_types": kinds, "global_head_dim": 32}
    if experts:
        more |= {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2}
        more |= {"moe_intermediate_size": 32}
    at, cpu = config(tmp_path, "Gemma4TextConfig", **more), torch.device("cpu")
    with pytest.raises(PlacementError, match="Gemma4ForCausalLM have heads of several kinds"):
        build_model(shard(at), cast("Collectives", TwoRanks()), cpu, torch.float32, 1)
