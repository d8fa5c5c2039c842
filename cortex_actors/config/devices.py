"""Which devices a neuron offers: the ``devices`` key, and finding what it stands for.

Nothing here imports torch. CUDA devices are found with ``nvidia-smi``; their numbers are those that
a process sees under ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` and the same ``CUDA_VISIBLE_DEVICES``.
"""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from transports.schemas.fleet import DeviceState

_CHOICE = re.compile(
    r"auto|cpu(:(?P<cpus>\d{1,3}))?|cuda(:(?P<cudas>\d{1,2}(,\d{1,2})*))?", re.ASCII
)
_MAX_CPUS = 64
_FIELDS = "index,uuid,name,memory.total,memory.free"
# Drivers before 470 refuse the whole question for a field that they do not know.
_QUESTIONS = (f"{_FIELDS},compute_cap", _FIELDS)
_CAPABILITY = re.compile(r"\d{1,3}\.\d{1,3}", re.ASCII)
_NVIDIA_SMI_TIMEOUT_S = 10.0
# "No devices were found" and "a GPU is lost" are answers too. Other codes (no driver, one that was
# just updated) say nothing about devices that processes already use.
_ANSWERED = frozenset({0, 6, 15})


@final
class DeviceError(Exception):
    """The configured devices are not there; the text says which and what is."""

    code = "devices"


@final
@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """The parsed ``devices`` key.

    ``kind`` is auto, cpu or cuda; ``cpus`` is how many devices the CPU is offered as; ``cudas`` are
    CUDA device numbers, empty for all of them.
    """

    kind: str
    cpus: int = 1
    cudas: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.kind == "cpu":
            return "cpu" if self.cpus == 1 else f"cpu:{self.cpus}"
        return f"{self.kind}:{','.join(map(str, self.cudas))}" if self.cudas else self.kind


def parse_devices(text: str) -> DeviceChoice:
    """Parse ``auto``, ``cpu``, ``cpu:3``, ``cuda`` or ``cuda:0,1``.

    Raises:
        ValueError: The text is none of these, repeats a device, or asks for no or too many CPUs.
    """
    match = _CHOICE.fullmatch(text)
    if match is None:
        raise ValueError(f"should be auto, cpu, cpu:3 or cuda:0,1, not '{text}'")
    cpus = int(match["cpus"] or 1)
    if not 1 <= cpus <= _MAX_CPUS:
        raise ValueError(f"the number of CPU devices must be from 1 to {_MAX_CPUS}, not {cpus}")
    cudas = tuple(int(number) for number in (match["cudas"] or "").split(",") if number)
    if len(set(cudas)) < len(cudas):
        raise ValueError(f"'{text}' names a device twice")
    return DeviceChoice(text.partition(":")[0], cpus, cudas)


def find_devices(
    choice: DeviceChoice, list_cudas: Callable[[], Sequence[DeviceState]] | None = None
) -> tuple[DeviceState, ...]:
    """Return the devices that ``choice`` stands for on this host. May take seconds; any thread.

    Raises:
        DeviceError: A CUDA device that was asked for is not there.
    """
    if choice.kind == "cpu":
        return _cpu_devices(choice.cpus)
    found = tuple((list_cudas or list_cuda_devices)())
    if choice.kind == "auto":
        return found or _cpu_devices(1)
    if not found:
        raise DeviceError(f"'{choice}' was asked for, but no usable CUDA device was found")
    by_id = {device.id: device for device in found}
    wanted = [f"cuda:{number}" for number in choice.cudas] or list(by_id)
    missing = [device for device in wanted if device not in by_id]
    if missing:
        raise DeviceError(f"no device {', '.join(missing)}; this host has {', '.join(by_id)}")
    return tuple(by_id[device] for device in wanted)


def measure_devices(
    known: Sequence[DeviceState], list_cudas: Callable[[], Sequence[DeviceState]] | None = None
) -> tuple[DeviceState, ...]:
    """Return those of ``known`` that are still there, with fresh figures. May take seconds.

    Raises:
        DeviceError: They could not be asked for, which says nothing about them.
    """
    if all(device.kind == "cpu" for device in known):
        return _cpu_devices(len(known))
    found = {device.id: device for device in (list_cudas or _ask_nvidia_smi)()}
    return tuple(found[device.id] for device in known if device.id in found)


def list_cuda_devices() -> tuple[DeviceState, ...]:
    """Return the CUDA devices that a torch process on this host could use; none is no error."""
    if _torch_is_cpu_only():
        return ()
    try:
        return _ask_nvidia_smi()
    except DeviceError:
        return ()


def _ask_nvidia_smi() -> tuple[DeviceState, ...]:
    for fields in _QUESTIONS:
        command = ("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits")
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise DeviceError(f"nvidia-smi: {error}") from error
        if answer.returncode in _ANSWERED:
            return parse_nvidia_smi(answer.stdout, os.environ)
    said = (answer.stderr or answer.stdout).strip()
    raise DeviceError(f"nvidia-smi ended with {answer.returncode}: {said}")


def parse_nvidia_smi(text: str, environ: Mapping[str, str]) -> tuple[DeviceState, ...]:
    """Turn nvidia-smi's CSV into devices, numbered as ``CUDA_VISIBLE_DEVICES`` renumbers them."""
    rows = [[field.strip() for field in row] for row in csv.reader(text.splitlines())]
    rows = [row for row in rows if len(row) in (5, 6) and row[3].isdecimal() and row[4].isdecimal()]
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        by_name = {name: row for row in rows for name in row[:2]}
        names = [name.strip() for name in visible.split(",")]
        numbered = [(str(n), by_name[name]) for n, name in enumerate(names) if name in by_name]
    else:
        # Not counted: the others keep their numbers when a device is lost.
        numbered = [(row[0], row) for row in rows]
    return tuple(
        DeviceState(f"cuda:{number}", "cuda", row[2], int(row[3]), int(row[4]), _capability(row))
        for number, row in numbered
    )


def _capability(row: Sequence[str]) -> str:
    return row[5] if len(row) > 5 and _CAPABILITY.fullmatch(row[5]) else ""


def _torch_is_cpu_only() -> bool:
    try:
        return importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def _cpu_devices(count: int) -> tuple[DeviceState, ...]:
    """Offer the CPU as ``count`` devices that share its memory evenly."""
    total_mb, free_mb = _memory_mb()
    return tuple(
        DeviceState(f"cpu:{number}", "cpu", _cpu_name(), total_mb // count, free_mb // count)
        for number in range(count)
    )


def _memory_mb() -> tuple[int, int]:
    sizes = {
        key: int(rest.split()[0]) // 1024
        for key, _, rest in (
            line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines()
        )
    }
    return sizes["MemTotal"], sizes["MemAvailable"]


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
