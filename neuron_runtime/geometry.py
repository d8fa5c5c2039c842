"""Among how many ranks a model can be divided, from its configuration alone. Pure; torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transports.failures import FailureCode
from transports.schemas.link import Failure


class PlacementError(Exception):
    """A model cannot be divided among so many ranks; the message names the numbers that do work."""

    code = FailureCode.LOAD_FAILED

    def failure(self) -> Failure:
        """Return what travels in place of an answer."""
        return Failure(self.code, str(self))


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes of a model that decide among how many ranks it can be divided; 0 is unknown."""

    heads: int
    key_value_heads: int
    intermediate: int

    @property
    def known(self) -> bool:
        """Whether the configuration states the number of heads; some leave it to the class."""
        return self.heads > 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Geometry:
        """Read the sizes from a model's ``config.json``."""
        text = config.get("text_config") or config
        heads = _size(text, "num_attention_heads")
        return cls(
            heads, _size(text, "num_key_value_heads") or heads, _size(text, "intermediate_size")
        )

    def fits(self, world_size: int) -> bool:
        """Say whether ``world_size`` ranks can share the model evenly."""
        if world_size == 1:
            return True
        few, many = sorted((self.key_value_heads, world_size))
        return (
            self.heads > 0
            and self.heads % world_size == 0
            and many % few == 0
            and self.intermediate % world_size == 0
        )

    def world_sizes(self) -> tuple[int, ...]:
        """Return every number of ranks that fits, ascending."""
        return tuple(size for size in range(1, max(1, self.heads) + 1) if self.fits(size))

    def check(self, world_size: int) -> None:
        """Refuse a number of ranks that does not divide the model.

        Raises:
            PlacementError: It does not; names those that do.
        """
        if not self.fits(world_size):
            choice = ", ".join(map(str, self.world_sizes()))
            raise PlacementError(
                f"a model with {self.heads} heads, {self.key_value_heads} key-value heads and an"
                f" intermediate size of {self.intermediate} cannot be divided among {world_size}"
                f" devices; possible are {choice}"
            )


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) else 0
