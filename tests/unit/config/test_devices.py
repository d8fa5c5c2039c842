"""The devices key and what it stands for."""

from __future__ import annotations

import pytest

from cortex_actors.config.devices import (
    DeviceChoice,
    DeviceError,
    find_devices,
    parse_devices,
    parse_nvidia_smi,
)
from transports.schemas.fleet import DeviceState

TWO_GPUS = """\
0, GPU-aaaa, NVIDIA H200, 143771, 143000
1, GPU-bbbb, NVIDIA H200, 143771, 90000
"""


def _gpus(count: int) -> tuple[DeviceState, ...]:
    return tuple(DeviceState(f"cuda:{n}", "cuda", "gpu", 24_000, 23_000) for n in range(count))


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", DeviceChoice("auto")),
        ("cpu", DeviceChoice("cpu", 1)),
        ("cpu:3", DeviceChoice("cpu", 3)),
        ("cuda", DeviceChoice("cuda")),
        ("cuda:0", DeviceChoice("cuda", cudas=(0,))),
        ("cuda:3,1", DeviceChoice("cuda", cudas=(3, 1))),
    ],
)
def test_choices_are_parsed_and_shown_alike(text: str, choice: DeviceChoice) -> None:
    assert parse_devices(text) == choice
    assert str(choice) == text


@pytest.mark.parametrize(
    "text", ["", "CPU", "cpu:", "cpu:-1", "cpu:65", "cuda:", "cuda:a", "cuda:1,1"]
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"should be|must be|twice"):
        parse_devices(text)


def test_cpus_share_the_memory() -> None:
    (whole,) = find_devices(DeviceChoice("cpu"))
    thirds = find_devices(DeviceChoice("cpu", 3))
    assert [device.id for device in thirds] == ["cpu:0", "cpu:1", "cpu:2"]
    assert thirds[0].memory_total_mb == whole.memory_total_mb // 3


def test_auto_prefers_cuda_and_falls_back_to_the_cpu() -> None:
    cuda = find_devices(DeviceChoice("auto"), lambda: _gpus(2))
    assert [device.id for device in cuda] == ["cuda:0", "cuda:1"]
    assert [device.id for device in find_devices(DeviceChoice("auto"), tuple)] == ["cpu:0"]


def test_chosen_cuda_devices_come_in_the_chosen_order() -> None:
    found = find_devices(DeviceChoice("cuda", cudas=(2, 0)), lambda: _gpus(3))
    assert [device.id for device in found] == ["cuda:2", "cuda:0"]
    assert len(find_devices(DeviceChoice("cuda"), lambda: _gpus(3))) == 3


def test_absent_cuda_devices_are_named() -> None:
    with pytest.raises(DeviceError, match=r"no device cuda:5; this host has cuda:0, cuda:1"):
        find_devices(DeviceChoice("cuda", cudas=(0, 5)), lambda: _gpus(2))
    with pytest.raises(DeviceError, match="no usable CUDA device"):
        find_devices(DeviceChoice("cuda"), tuple)


def test_nvidia_smi_rows_become_devices() -> None:
    first, second = parse_nvidia_smi(TWO_GPUS, {})
    assert first == DeviceState("cuda:0", "cuda", "NVIDIA H200", 143771, 143000)
    assert second.id == "cuda:1"


@pytest.mark.parametrize(
    ("visible", "free"),
    [("1,0", [90000, 143000]), ("GPU-bbbb", [90000]), ("", []), ("7", []), ("1", [90000])],
)
def test_visible_devices_renumber(visible: str, free: list[int]) -> None:
    found = parse_nvidia_smi(TWO_GPUS, {"CUDA_VISIBLE_DEVICES": visible})
    assert [device.memory_free_mb for device in found] == free
    assert [device.id for device in found] == [f"cuda:{n}" for n in range(len(free))]


def test_rows_that_are_not_devices_are_left_out() -> None:
    assert parse_nvidia_smi("No devices were found\n0, x, y, [N/A], 3\n", {}) == ()
