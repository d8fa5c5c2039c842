"""Which device a rank opens, as far as a host without a GPU can show."""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch")

from neuron_runtime.backends.base import BackendError  # noqa: E402
from neuron_runtime.torch_backend.device import open_device  # noqa: E402

pytestmark = pytest.mark.torch


def test_gpus_are_numbered_as_nvidia_smi_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA reads its order when it is first asked for anything, which is how many there are."""
    seen: list[str] = []

    def none_there() -> bool:
        seen.append(os.environ["CUDA_DEVICE_ORDER"])
        return False

    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    monkeypatch.setattr(torch.cuda, "is_available", none_there)
    with pytest.raises(BackendError, match="this host has 0 GPUs"):
        open_device("cuda:1")
    assert seen == ["PCI_BUS_ID"]
