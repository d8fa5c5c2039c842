"""The devices key and what it stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cortex_actors.config.devices import (
    DeviceChoice,
    DeviceError,
    find_devices,
    measure_devices,
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


@pytest.mark.parametrize(("said", "shown"), [("9.0", "9.0"), ("[N/A]", ""), ("", "")])
def test_the_compute_capability_is_shown_where_the_driver_tells_it(said: str, shown: str) -> None:
    (device,) = parse_nvidia_smi(f"0, GPU-aaaa, NVIDIA H200, 143771, 143000, {said}\n", {})
    assert (device.memory_free_mb, device.compute_capability) == (143000, shown)


_OLD_SMI = """#!/bin/sh
case "$1" in *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;; esac
printf '%s\\n' '0, GPU-aaaa, NVIDIA H200, 143771, 143000'
"""


def test_a_driver_that_knows_no_compute_capability_still_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(_OLD_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    assert [device.memory_free_mb for device in measure_devices(_gpus(1))] == [143000]


@pytest.mark.parametrize(
    ("visible", "free"),
    [("1,0", [90000, 143000]), ("GPU-bbbb", [90000]), ("", []), ("7", []), ("1", [90000])],
)
def test_visible_devices_renumber(visible: str, free: list[int]) -> None:
    found = parse_nvidia_smi(TWO_GPUS, {"CUDA_VISIBLE_DEVICES": visible})
    assert [device.memory_free_mb for device in found] == free
    assert [device.id for device in found] == [f"cuda:{n}" for n in range(len(free))]


def test_the_others_keep_their_numbers_when_a_device_is_lost() -> None:
    said = f"Unable to determine the device handle: GPU is lost\n{TWO_GPUS.splitlines()[1]}\n"
    for environ in ({}, {"CUDA_VISIBLE_DEVICES": "0,1"}):
        (left,) = parse_nvidia_smi(said, environ)
        assert (left.id, left.memory_free_mb) == ("cuda:1", 90000)


def test_known_devices_that_are_left_are_measured_in_their_order() -> None:
    known = find_devices(DeviceChoice("cuda", cudas=(2, 0)), lambda: _gpus(3))

    assert [d.id for d in measure_devices(known, lambda: _gpus(3))] == ["cuda:2", "cuda:0"]
    assert [d.id for d in measure_devices(known, lambda: _gpus(2))] == ["cuda:0"]
    assert measure_devices(known, tuple) == ()


def test_cpus_are_always_there() -> None:
    known = find_devices(DeviceChoice("cpu", 2))
    assert [device.id for device in measure_devices(known)] == ["cpu:0", "cpu:1"]


_SMI = """#!/bin/sh
printf '%s\\n' '0, GPU-aaaa, NVIDIA H200, 143771, 143000'
exit {code}
"""


@pytest.mark.parametrize(("code", "there"), [(0, True), (6, True), (15, True), (18, False)])
def test_only_an_answer_of_nvidia_smi_says_that_a_device_is_gone(
    code: int, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(_SMI.format(code=code))
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if there:
        assert [device.id for device in measure_devices(_gpus(2))] == ["cuda:0"]
    else:
        with pytest.raises(DeviceError, match="ended with 18"):
            measure_devices(_gpus(2))


def test_a_host_without_nvidia_smi_cannot_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="nvidia-smi"):
        measure_devices(_gpus(2))


def test_rows_that_are_not_devices_are_left_out() -> None:
    assert parse_nvidia_smi("No devices were found\n0, x, y, [N/A], 3\n", {}) == ()
