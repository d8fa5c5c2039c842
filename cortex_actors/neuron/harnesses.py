"""What a neuron can run models with."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

TORCH: Final = "torch"


def harnesses(backend: str) -> tuple[str, ...]:
    """Return the catalogue's names of those that are installed.

    A ``backend`` other than torch (fake, script) stands in for it.
    """
    return (TORCH,) if backend != TORCH or find_spec(TORCH) is not None else ()
