"""Settings for all tests, and what several folders of them share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine must not fail a property.
settings.register_profile("cortex", deadline=None)
settings.load_profile("cortex")


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A neuron's ``cache_dir``: whoever comes first converts a model for all."""
    return tmp_path_factory.mktemp("cache")
