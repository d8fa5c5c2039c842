"""Whether all layers of a model attend through transformers' interface, told without its weights.

A pass over the skeleton computes shapes alone. What an architecture computes by value (experts, for
one) has none on the meta device: then nothing is known until the weights are there.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel

from neuron_runtime.torch_backend.model_skeleton import UnknownArchitecture

_log = logging.getLogger("cortex.torch")

_NAME: Final = "cortex_attention_probe"


def refuse_unattended(model: PreTrainedModel) -> bool:
    """Feed one token to a model on the meta device, whose modules are still transformers' own.

    Returns:
        Whether shapes told everything: no number decides what is computed.

    Raises:
        UnknownArchitecture: It has layers that do not attend through the interface.
    """
    layers = _attended(model)
    if layers is not None:
        refuse_unless_all(model, len(layers))
    return layers is not None


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


def _attended(model: PreTrainedModel) -> set[int] | None:
    """Return the layers that attend, or None if shapes do not tell."""
    seen: set[int] = set()

    def attend(
        module: Any,
        query: torch.Tensor,
        _key: torch.Tensor,
        value: torch.Tensor,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, None]:
        seen.add(int(module.layer_idx))
        batch, heads, rows, _dim = query.shape
        return query.new_empty((batch, rows, heads, value.shape[-1])), None

    ALL_ATTENTION_FUNCTIONS.register(_NAME, attend)
    own = model.config._attn_implementation
    model.config._attn_implementation = _NAME
    token = torch.zeros((1, 1), dtype=torch.long, device="meta")
    before = [(module, set(vars(module))) for module in model.modules()]
    try:
        with torch.inference_mode():
            model(input_ids=token, position_ids=token, use_cache=False, logits_to_keep=token[0])
    except Exception as error:  # noqa: BLE001 - a foreign model without numbers may raise anything
        _log.debug("not known before the weights model=%s: %s", type(model).__name__, error)
        return None
    finally:
        model.config._attn_implementation = own
        # What a module made for later (the long frequencies of LongRoPE) would have no numbers.
        for module, attributes in before:
            for name in set(vars(module)) - attributes:
                delattr(module, name)
    return seen
