from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fleet import EMBEDDER, Fleet, temporary_fleet
from tests.torch.embedding_models import MINILM


@pytest.fixture(scope="package")
def one_fleet(model_cache: Path) -> Iterator[Fleet]:
    embedder = {"id": EMBEDDER, "source": MINILM, "vram_mb": 200}
    with temporary_fleet(model_cache, more_models=(embedder,)) as fleet:
        yield fleet


@pytest.fixture
def fleet(one_fleet: Fleet) -> Fleet:
    """The fleet that tests share; it serves, whatever the last one has done to it."""
    one_fleet.start()
    return one_fleet
