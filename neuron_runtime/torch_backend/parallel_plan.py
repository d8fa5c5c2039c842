"""How a model is divided among the ranks of a group. Pure, and free of torch.

The styles come from the model's own ``base_model_tp_plan``; what they mean here:

- ``colwise``: each rank holds a slice of the outputs (whole attention heads);
- ``rowwise``: each rank holds a slice of the inputs, and the ranks' results are added up;
- ``colwise_gather_output``: as colwise, and the slices are put together again;
- ``packed_colwise``: two matrices stored as one (gate and up), each divided as colwise;
- ``rowwise_split_input``: as rowwise, for an input that every rank has in full;
- everything replicated is held in full by every rank.

When ranks outnumber key-value heads, ``world_size / heads`` neighbouring ranks hold the same one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from neuron_runtime.geometry import Geometry, PlacementError

__all__ = ["Cut", "Geometry", "ParallelPlan", "PlacementError", "Style"]

_KEY_VALUE = ("k_proj", "v_proj")
_NUMBER = re.compile(r"\.\d+(?=\.|$)")


class Style(Enum):
    """What a rank holds of a module."""

    REPLICATED = "replicated"
    COLUMN = "column"
    COLUMN_GATHERED = "column_gathered"
    PACKED_COLUMN = "packed_column"
    ROW = "row"
    ROW_SPLIT_INPUT = "row_split_input"


_STYLES = {
    "colwise": Style.COLUMN,
    "colwise_gather_output": Style.COLUMN_GATHERED,
    "packed_colwise": Style.PACKED_COLUMN,
    "rowwise": Style.ROW,
    "rowwise_split_input": Style.ROW_SPLIT_INPUT,
    "replicate": Style.REPLICATED,
    "replicated_with_grad_allreduce": Style.REPLICATED,
    # Ranks hold the embedding in full: looking a token up is cheaper than a collective.
    "embedding_rowwise": Style.REPLICATED,
}


@dataclass(frozen=True, slots=True)
class Cut:
    """Which parts of one dimension of a weight a rank holds."""

    dim: int
    parts: tuple[range, ...]

    @property
    def size(self) -> int:
        """How much of the dimension that is."""
        return sum(map(len, self.parts))


class ParallelPlan:
    """What one rank holds of each module.

    Args:
        styles: transformers' plan: module name pattern (``*`` is a layer's number) to style name.
        geometry: The model's sizes.
        rank: This rank.
        world_size: How many ranks share the model.

    Raises:
        PlacementError: The sizes do not divide, or a module has a style that we cannot divide.
    """

    def __init__(
        self, styles: Mapping[str, str], geometry: Geometry, rank: int, world_size: int
    ) -> None:
        geometry.check(world_size)
        self.rank, self.world_size, self.geometry = rank, world_size, geometry
        self._styles = {} if world_size == 1 else _known(styles)

    @property
    def query_heads_per_kv_head(self) -> int:
        """How many of this rank's query heads share one of its key-value heads."""
        heads = self.geometry.heads // self.world_size
        return heads // max(1, self.geometry.key_value_heads // self.world_size)

    def style(self, module: str) -> Style:
        """Return the style of the module with this full name."""
        return self._styles.get(_NUMBER.sub(".*", module), Style.REPLICATED)

    def outputs(self, module: str, size: int) -> Cut:
        """Return which of a module's ``size`` outputs this rank computes.

        Raises:
            PlacementError: They do not divide.
        """
        style = self.style(module)
        if style is Style.PACKED_COLUMN:
            half = self._share(module, size // 2)
            return Cut(0, (half, range(half.start + size // 2, half.stop + size // 2)))
        if style is Style.COLUMN and module.endswith(_KEY_VALUE):
            return Cut(0, (self._key_value_share(module, size),))
        if style in (Style.COLUMN, Style.COLUMN_GATHERED):
            return Cut(0, (self._share(module, size),))
        return Cut(0, (range(size),))

    def inputs(self, module: str, size: int) -> Cut:
        """Return which of a module's ``size`` inputs this rank takes.

        Raises:
            PlacementError: They do not divide.
        """
        if self.style(module) in (Style.ROW, Style.ROW_SPLIT_INPUT):
            return Cut(1, (self._share(module, size),))
        return Cut(1, (range(size),))

    def vocabulary(self, size: int) -> range:
        """Return whose logits this rank computes; the last ranks may have fewer, or none."""
        share = -(-size // self.world_size)
        return range(min(size, self.rank * share), min(size, (self.rank + 1) * share))

    def _share(self, module: str, size: int) -> range:
        if size % self.world_size:
            raise PlacementError(
                f"{module} with {size} features cannot be divided among {self.world_size} devices"
            )
        share = size // self.world_size
        return range(self.rank * share, (self.rank + 1) * share)

    def _key_value_share(self, module: str, size: int) -> range:
        heads = self.geometry.key_value_heads
        if heads >= self.world_size:
            return self._share(module, size)
        width = size // heads
        head = self.rank * heads // self.world_size
        return range(head * width, (head + 1) * width)


def _known(styles: Mapping[str, str]) -> dict[str, Style]:
    if not styles:
        raise PlacementError("this architecture has no tensor-parallel plan; use one device")
    unknown = sorted({style for style in styles.values() if style not in _STYLES})
    if unknown:
        raise PlacementError(
            f"this architecture's tensor-parallel plan uses {', '.join(unknown)}, which is not"
            " supported; use one device"
        )
    return {_NUMBER.sub(".*", pattern): _STYLES[style] for pattern, style in styles.items()}
