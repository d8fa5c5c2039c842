"""What a model's layers ask of attention, told by a pass in which nothing attends.

Such a pass over the skeleton computes shapes alone, before any weight is read. What an architecture
computes by value (experts, for one) has none on the meta device: then nothing is known until the
weights are there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel

from neuron_runtime.torch_backend.model_skeleton import UnknownArchitecture
from neuron_runtime.torch_backend.paged_cache import CacheShape

_log = logging.getLogger("cortex.torch")

_NAME: Final = "cortex_attention_probe"
_KNOWN: Final = frozenset({"position_ids", "s_aux"})
"""Tensors that an attention function may be given besides queries, keys and values: positions have
been worked into these already, and sinks are known to ours."""

_REACH: Final = 1 << 17
"""What a mask hides is asked for so many tokens, if the model's context has them."""


def refuse_unattended(model: PreTrainedModel) -> tuple[CacheShape, ...] | None:
    """Feed one token to a model on the meta device, whose modules are still transformers' own.

    Returns:
        What each layer keeps of a token; None if shapes do not tell, because numbers decide what
        is computed.

    Raises:
        UnknownArchitecture: Its layers do not all attend through the interface, or ask for more
            than our attention knows.
    """
    try:
        return _probed(model, "meta")
    except UnknownArchitecture:
        raise
    except Exception as error:  # noqa: BLE001 - a foreign model without numbers may raise anything
        _log.debug("not known before the weights model=%s: %s", type(model).__name__, error)
        return None


def refuse_with_weights(model: PreTrainedModel, device: torch.device) -> tuple[CacheShape, ...]:
    """Do the same with a model whose weights are on ``device``; what it raises refuses it."""
    try:
        return _probed(model, device)
    except (UnknownArchitecture, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise UnknownArchitecture(
            f"{type(model).__name__} cannot be run: {type(error).__name__}: {error}"
        ) from error


def refuse_unless_all(model: PreTrainedModel, attended: int) -> None:
    """Compare with how many layers there are.

    Raises:
        UnknownArchitecture: Fewer have attended.
    """
    layers = int(model.config.get_text_config().num_hidden_layers)
    if attended != layers:
        raise UnknownArchitecture(
            f"{type(model).__name__} cannot be run: {attended} of its {layers} layers"
            " attend through transformers' interface"
        )


def _probed(model: PreTrainedModel, device: torch.device | str) -> tuple[CacheShape, ...]:
    text = model.config.get_text_config()
    witness = _Witness(type(model).__name__, getattr(text, "max_position_embeddings", None) or 0)
    ALL_ATTENTION_FUNCTIONS.register(_NAME, witness.attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, witness.mask)
    token = torch.zeros((1, 1), dtype=torch.long, device=device)
    with _attending_by(model, _NAME), torch.inference_mode():
        model(
            input_ids=token,
            position_ids=token,
            # Else positions are looked at, for several sequences in one.
            attention_mask=torch.ones_like(token),
            use_cache=False,
            logits_to_keep=token[0],
        )
    refuse_unless_all(model, len(witness.shapes))
    return tuple(shape for _, shape in sorted(witness.shapes.items()))


@contextmanager
def _attending_by(model: PreTrainedModel, name: str) -> Iterator[None]:
    own = model.config._attn_implementation
    model.config._attn_implementation = name
    before = [(module, set(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        model.config._attn_implementation = own
        # What a module made for later (the long frequencies of LongRoPE) would have no numbers.
        for module, attributes in before:
            for added in set(vars(module)) - attributes:
                delattr(module, added)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a mask says: whether a row sees a place. It is kept, so that its id is its own."""

    mask: torch.Tensor
    function: Callable[..., torch.Tensor]

    def sees(self, row: int, window: int) -> bool:
        """Say whether ``row`` sees itself and what is before it, within a ``window`` if not 0."""
        places = torch.arange(row + 2)
        seen = places <= row
        if window:
            seen &= places > row - window
        start = torch.tensor(0)
        try:
            told = self.function(start, start, torch.tensor(row), places)
        except IndexError:
            # It looks at which tokens are an image's, and only one has been fed.
            return True
        return torch.equal(told.expand(seen.shape), seen)


@final
class _Witness:
    """An attention function that computes nothing, and sees what each layer asks for."""

    def __init__(self, model: str, context_length: int) -> None:
        self._model = model
        self._reach = min(context_length or _REACH, _REACH)
        self._rules: dict[int, _Rule] = {}
        self.shapes: dict[int, CacheShape] = {}

    def mask(
        self, *, mask_function: Callable[..., torch.Tensor], device: Any, **_: Any
    ) -> torch.Tensor:
        """See transformers' mask interface: return what stands for a mask of this rule."""
        mask = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device)
        self._rules[id(mask)] = _Rule(mask, mask_function)
        return mask

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: object = None,
        sliding_window: int | None = None,
        **asked: Any,
    ) -> tuple[torch.Tensor, None]:
        """See transformers' attention interface."""
        layer = int(module.layer_idx)
        reason = self._beyond_ours(module, asked)
        reason = reason or self._hidden_otherwise(attention_mask, int(sliding_window or 0))
        reason = reason or self._ill_shaped(layer, query, key, value)
        if reason is not None:
            raise UnknownArchitecture(f"{self._model} cannot be run: {reason}")
        self.shapes[layer] = CacheShape(key.shape[1], key.shape[3])
        batch, heads, rows, _dim = query.shape
        return query.new_zeros((batch, rows, heads, value.shape[-1])), None

    def _beyond_ours(self, module: Any, asked: dict[str, Any]) -> str | None:
        causal = asked.get("is_causal")
        if (getattr(module, "is_causal", True) if causal is None else causal) is False:
            return "its tokens see what follows them"
        tensors = {name for name, value in asked.items() if isinstance(value, torch.Tensor)}
        unknown = sorted(tensors - _KNOWN)
        return f"its layers attend by {', '.join(unknown)}, too" if unknown else None

    def _hidden_otherwise(self, mask: object, window: int) -> str | None:
        """Compare what a layer's mask hides with what ours would, which only know its window."""
        if mask is None:
            return None
        rule = self._rules.get(id(mask))
        if rule is None:
            return "its layers make attention masks of their own"
        if all(rule.sees(row, window) for row in (0, self._reach // 2, self._reach - 1)):
            return None
        return "what its layers see is in masks, which only say it to their attention"

    def _ill_shaped(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> str | None:
        if layer in self.shapes:
            return f"layer {layer} attends more than once"
        if key.shape != value.shape:
            return f"layer {layer} has keys {tuple(key.shape)} and values {tuple(value.shape)}"
        if key.shape[2] != query.shape[2] or query.shape[1] % key.shape[1]:
            return f"layer {layer} has queries {tuple(query.shape)} and keys {tuple(key.shape)}"
        return None
