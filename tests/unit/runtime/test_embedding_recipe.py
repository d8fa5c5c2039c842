"""A model's kind and recipe are read from its files; what is not known is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.embedding_recipe import EmbeddingRecipe, Pooling, UnknownRecipe
from neuron_runtime.model_errors import ModelFilesError, SourceCorrupt, SourceNotFound
from neuron_runtime.model_kind import ModelKind
from transports.failures import FailureCode


def write(model_dir: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = model_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return model_dir


def modules(*types_and_paths: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{name}"}
        for n, (name, path) in enumerate(types_and_paths)
    ]


TRANSFORMER = ("Transformer", "")
POOLING = ("Pooling", "1_Pooling")


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({}, ModelKind.GENERATION),
        ({"config.json": {}}, ModelKind.GENERATION),
        ({"config.json": {"architectures": []}}, ModelKind.GENERATION),
        ({"config.json": {"architectures": ["LlamaForCausalLM"]}}, ModelKind.GENERATION),
        ({"config.json": {"architectures": ["GPT2LMHeadModel"]}}, ModelKind.GENERATION),
        ({"config.json": {"architectures": ["BertModel"]}}, ModelKind.EMBEDDING),
        ({"config.json": {"architectures": ["BertForMaskedLM"]}}, ModelKind.EMBEDDING),
        ({"config.json": {"architectures": ["MistralModel"]}}, ModelKind.EMBEDDING),
        (
            {"config.json": {"architectures": ["Qwen3ForCausalLM"]}, "modules.json": []},
            ModelKind.EMBEDDING,
        ),
    ],
)
def test_the_kind_is_told_by_the_files(
    tmp_path: Path, files: dict[str, Any], kind: ModelKind
) -> None:
    assert ModelKind.of(write(tmp_path, files)) is kind


def test_a_config_that_is_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceCorrupt, match=r"config\.json"):
        ModelKind.of(write(tmp_path, {"config.json": "{"}))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (ModelKind.EMBEDDING, "the model 'm' makes embeddings and generates no text"),
        (ModelKind.GENERATION, "the model 'm' generates text and makes no embeddings"),
    ],
)
def test_a_question_of_the_other_kind_is_told_what_the_model_does(
    kind: ModelKind, said: str
) -> None:
    failure = kind.refusal("m")
    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, "model")
    assert failure.message.startswith(said)


def test_files_that_say_nothing_leave_the_choice_to_the_architecture(tmp_path: Path) -> None:
    assert EmbeddingRecipe.load(tmp_path) == EmbeddingRecipe()


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, Pooling.MEAN),
        ({"pooling_mode_cls_token": True}, Pooling.CLS),
        ({"pooling_mode_lasttoken": True}, Pooling.LAST),
        ({"pooling_mode_max_tokens": True}, Pooling.MAX),
        ({"pooling_mode": "lasttoken"}, Pooling.LAST),
        ({"pooling_mode": ["mean"]}, Pooling.MEAN),
    ],
)
def test_pooling_is_read_in_old_and_new_files(
    tmp_path: Path, config: dict[str, Any], pooling: Pooling
) -> None:
    listed = modules(TRANSFORMER, POOLING, ("Normalize", "2_Normalize"))
    write(tmp_path, {"modules.json": listed, "1_Pooling/config.json": config})
    assert EmbeddingRecipe.load(tmp_path) == EmbeddingRecipe(pooling)


def test_projections_and_the_longest_input_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "modules.json": modules(TRANSFORMER, POOLING, ("Dense", "2_Dense"), ("Dense", "3_D")),
            "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
            "sentence_bert_config.json": {"max_seq_length": 256},
        },
    )
    assert EmbeddingRecipe.load(tmp_path) == EmbeddingRecipe(
        Pooling.MEAN, ("2_Dense", "3_D"), max_tokens=256
    )


@pytest.mark.parametrize("limit", [None, 0, "many"])
def test_a_limit_that_is_none_is_none(tmp_path: Path, limit: object) -> None:
    write(tmp_path, {"sentence_roberta_config.json": {"max_seq_length": limit}})
    assert EmbeddingRecipe.load(tmp_path).max_tokens is None


@pytest.mark.parametrize(
    ("listed", "pooling", "named"),
    [
        (modules(TRANSFORMER, POOLING, ("LayerNorm", "2_LN")), {"pooling_mode": "cls"}, "2_LN"),
        (modules(("Transformer", "0_Transformer")), {}, "0_Transformer"),
        (modules(TRANSFORMER, ("Dense", "1_Dense")), {}, "1_Dense"),
        (modules(TRANSFORMER, POOLING), {}, "by nothing"),
        (modules(TRANSFORMER, POOLING), {"pooling_mode": "weightedmean"}, "by weightedmean"),
        (
            modules(TRANSFORMER, POOLING),
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            r"by cls\+mean",
        ),
    ],
)
def test_a_step_that_is_not_known_is_refused_not_left_out(
    tmp_path: Path, listed: list[dict[str, Any]], pooling: dict[str, Any], named: str
) -> None:
    write(tmp_path, {"modules.json": listed, "1_Pooling/config.json": pooling})
    with pytest.raises(UnknownRecipe, match=named):
        EmbeddingRecipe.load(tmp_path)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"modules.json": "{}"}, SourceCorrupt),
        ({"modules.json": modules(("Pooling", "../1_Pooling"))}, SourceCorrupt),
        ({"modules.json": modules(("Pooling", "/etc"))}, SourceCorrupt),
        ({"modules.json": modules(POOLING)}, SourceNotFound),
    ],
)
def test_files_that_are_malformed_or_missing_are_named(
    tmp_path: Path, files: dict[str, Any], error: type[ModelFilesError]
) -> None:
    with pytest.raises(error, match=r"modules\.json|1_Pooling"):
        EmbeddingRecipe.load(write(tmp_path, files))
