from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex_actors.http.response_store import ResponseStore, StoreLimits
from tests.unit.engine.realistic_templates import template
from tests.unit.engine.tiny_model import FAKE_WORDS, make_model_dir
from tests.unit.http.served_engine import SHOWN, Served


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    store = ResponseStore(tmp_path / "responses.sqlite", StoreLimits())
    yield store
    store.close()


@pytest.fixture(scope="module")
def transparent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transparent")
    return make_model_dir(folder, words=FAKE_WORDS, template=SHOWN)


@pytest.fixture
def served(transparent: Path, store: ResponseStore) -> Served:
    return Served(transparent, store)


@pytest.fixture(scope="module")
def qwen_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    return make_model_dir(folder, words=FAKE_WORDS, template=template("qwen"))


@pytest.fixture
def qwen(qwen_dir: Path, store: ResponseStore) -> Served:
    return Served(qwen_dir, store)
