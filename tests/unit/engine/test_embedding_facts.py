from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.embedding_facts import EmbeddingFacts
from neuron_runtime.engine.embedding_tokenizer import EmbeddingTokenizer
from neuron_runtime.engine.tokenizer import TokenizerError
from neuron_runtime.engine.vectors import shorten
from neuron_runtime.model_errors import SourceNotFound
from tests.unit.engine.embedding_bench import make_embedding_dir, text_tokens

CONFIG: dict[str, Any] = {"max_position_embeddings": 512, "vocab_size": 100, "hidden_size": 64}


def write(model_dir: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (model_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (model_dir / name).write_text(json.dumps(content))
    return model_dir


@pytest.mark.parametrize(
    ("files", "facts"),
    [
        ({}, EmbeddingFacts(512, 100, 64)),
        ({"config.json": {"text_config": CONFIG}}, EmbeddingFacts(512, 100, 64)),
        ({"config.json": {"dim": 32}}, EmbeddingFacts(None, None, 32)),
        ({"config.json": {"hidden_size": "wide"}}, EmbeddingFacts()),
        ({"sentence_bert_config.json": {"max_seq_length": 256}}, EmbeddingFacts(256, 100, 64)),
        ({"tokenizer_config.json": {"model_max_length": 128}}, EmbeddingFacts(128, 100, 64)),
        ({"tokenizer_config.json": {"model_max_length": 10**30}}, EmbeddingFacts(512, 100, 64)),
    ],
)
def test_the_smallest_limit_counts(
    tmp_path: Path, files: dict[str, Any], facts: EmbeddingFacts
) -> None:
    assert EmbeddingFacts.load(write(tmp_path, {"config.json": CONFIG} | files)) == facts


def test_the_last_projection_decides_the_length_of_a_vector(tmp_path: Path) -> None:
    types = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    write(
        tmp_path,
        {
            "config.json": CONFIG,
            "modules.json": [{"path": path, "type": f"m.{name}"} for path, name in types.items()],
            "1_Pooling/config.json": {"pooling_mode": "mean"},
            "2_Dense/config.json": {"in_features": 64, "out_features": 16},
        },
    )
    assert EmbeddingFacts.load(tmp_path).dimensions == 16


def test_a_model_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"config\.json"):
        EmbeddingFacts.load(tmp_path)


def test_texts_are_framed_and_neither_cut_nor_padded(tmp_path: Path) -> None:
    tokenizer = EmbeddingTokenizer.load(make_embedding_dir(tmp_path))
    texts = ["a", "much longer than five", "ab"]
    assert tokenizer.encode(texts) == [text_tokens(text) for text in texts]
    assert tokenizer.encode([]) == []


def test_a_tokenizer_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        EmbeddingTokenizer.load(tmp_path)


def test_a_shortened_vector_has_length_one() -> None:
    row = struct.pack("<3f", 0.6, 0.0, 0.8)
    assert struct.unpack("<2f", shorten(row, 2)) == (1.0, 0.0)
    assert shorten(row, 3) == shorten(row, 7) == row
    assert math.hypot(*struct.unpack("<2f", shorten(bytes(12), 2))) == 0.0
