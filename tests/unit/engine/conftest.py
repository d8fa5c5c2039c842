from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.engine.engine_bench import EngineBench
from tests.unit.engine.tiny_model import FAKE_WORDS, make_model_dir


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer knows every token of the fake backend."""
    return make_model_dir(tmp_path_factory.mktemp("model"), words=FAKE_WORDS)


@pytest.fixture
def bench(model_dir: Path) -> EngineBench:
    return EngineBench(model_dir)
