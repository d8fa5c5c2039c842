from __future__ import annotations

from tests.unit.kit.conftest import _quiet, start

__all__ = ["_quiet", "start"]
