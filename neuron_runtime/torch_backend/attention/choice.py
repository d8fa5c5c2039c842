"""Which way a layer attends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final

_LARGEST_FUSED = 256
_KERNEL_DIMS = 8


@final
class Way(StrEnum):
    """The ways for a step of any shape; a step of a decode graph has one of its own."""

    KERNEL = "kernel"
    GATHERED = "gathered"
    FUSED = "fused"


@dataclass(frozen=True, slots=True)
class LayerNeeds:
    """What a layer asks for, and where: ``device`` and ``dtype`` as torch names them.

    ``kernels``: the C kernels have been built, and this host can run them.
    """

    device: str
    dtype: str
    dim: int
    softcap: bool
    sinks: bool
    kernels: bool


def choose_attention(needs: LayerNeeds) -> tuple[Way, str]:
    """Return the way, and why it is that one, in a few words for the log."""
    reason = _kernel_refusal(needs) if needs.device == "cpu" else _fused_refusal(needs)
    if reason is not None:
        return Way.GATHERED, reason
    if needs.device == "cpu":
        return Way.KERNEL, "plain rules in float32, and the kernels are here"
    return Way.FUSED, f"plain rules on {needs.device}"


def _kernel_refusal(needs: LayerNeeds) -> str | None:
    if not needs.kernels:
        return "the kernels are not here"
    if needs.softcap or needs.sinks:
        return f"the kernels know no {_beyond_plain(needs)}"
    if needs.dtype != "float32":
        return f"the kernels know no {needs.dtype}"
    if needs.dim % _KERNEL_DIMS:
        return f"the kernels read {_KERNEL_DIMS} dimensions at once, and there are {needs.dim}"
    return None


def _fused_refusal(needs: LayerNeeds) -> str | None:
    if needs.softcap or needs.sinks:
        return f"torch's fused attention knows no {_beyond_plain(needs)}"
    if needs.dim > _LARGEST_FUSED:
        return f"torch's fused attention has at most {_LARGEST_FUSED} dimensions, not {needs.dim}"
    return None


def _beyond_plain(needs: LayerNeeds) -> str:
    asked = (("softcap", needs.softcap), ("sinks", needs.sinks))
    return " and ".join(name for name, is_asked in asked if is_asked)
