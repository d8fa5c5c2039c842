"""Where a model's parameters are read from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, final

import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig

from neuron_runtime.model_errors import SourceCorrupt
from neuron_runtime.torch_backend.parallel_plan import Cut


class Weights(Protocol):
    """Tensors by their name in the model."""

    def __contains__(self, tensor: str) -> bool: ...

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return a tensor's full shape. Raises SourceCorrupt: there is none."""
        ...

    def read(self, tensor: str, cut: Cut | None = None) -> torch.Tensor:
        """Return a tensor, or parts of it. Raises SourceCorrupt: it cannot be read."""
        ...


@final
class LoadedWeights:
    """The parameters of a model that transformers itself has loaded.

    For files that hold other tensors than the modules do (experts stored one by one, numbers of
    eight bits with a scale beside them), which only transformers knows how to read.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._tensors = dict(model.named_parameters(remove_duplicate=False))
        self._tensors |= dict(model.named_buffers(remove_duplicate=False))  # type: ignore[arg-type]

    @classmethod
    def by_transformers(
        cls, model_class: type[PreTrainedModel], model_dir: Path, dtype: torch.dtype
    ) -> LoadedWeights:
        """Load the model in ``model_dir``, on the CPU.

        Raises:
            SourceCorrupt: Its files lack something.
        """
        config = AutoConfig.from_pretrained(model_dir)
        quantized = getattr(config, "quantization_config", None)
        if quantized is not None:
            # Else it would be left as it is where there are kernels for it, which are not ours.
            config.quantization_config = {**quantized, "dequantize": True}
        model, found = model_class.from_pretrained(
            model_dir, config=config, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        missing = sorted(found["missing_keys"])
        if missing:
            raise SourceCorrupt(f"{model_dir} has no tensor {missing[0]}")
        return cls(model)

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._tensors

    def shape(self, tensor: str) -> tuple[int, ...]:
        """See ``Weights``."""
        return tuple(self._tensor(tensor).shape)

    def read(self, tensor: str, cut: Cut | None = None) -> torch.Tensor:
        """See ``Weights``."""
        whole = self._tensor(tensor)
        if cut is None:
            return whole
        before = (slice(None),) * cut.dim
        parts = [whole[(*before, slice(part.start, part.stop))] for part in cut.parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=cut.dim)

    def _tensor(self, name: str) -> torch.Tensor:
        try:
            return self._tensors[name].detach()
        except KeyError:
            raise SourceCorrupt(f"the model has no tensor {name}") from None
