"""What a neuron with a memory cap offers."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.neuron.memory_cap import capped, less_set_aside, less_used
from transports.schemas.fleet import DeviceState, ModelState

CPU = DeviceState("cpu:0", "cpu", "a CPU", 16_000, 9_000)
GPU = DeviceState("cuda:0", "cuda", "a GPU", 800, 700)


def model(memory_mb: int, *devices: str, state: str = "ready") -> ModelState:
    return ModelState(f"m{memory_mb}", state, devices=devices, memory_mb=memory_mb)


def figures(devices: tuple[DeviceState, ...]) -> list[tuple[int, int]]:
    return [(device.memory_total_mb, device.memory_free_mb) for device in devices]


def test_without_a_cap_the_measured_figures_stand() -> None:
    assert capped((CPU, GPU), None) == (CPU, GPU)
    assert less_used((CPU,), (model(500, "cpu:0"),), None) == (CPU,)


def test_no_device_offers_more_than_the_cap_nor_more_than_it_has() -> None:
    assert figures(capped((CPU, GPU), 1500)) == [(1500, 1500), (800, 700)]


def test_what_models_take_is_not_free_under_a_cap() -> None:
    models = (
        model(500, "cpu:0"),
        model(301, "cpu:0", "cpu:1"),
        *(model(900, "cpu:0", state=each) for each in ("failed", "starting", "recovering")),
    )
    assert figures(less_used(capped((CPU,), 1500), models, 1500)) == [(1500, 849)]


def test_what_is_set_aside_for_sleepers_is_no_cpus_to_offer_whether_used_or_not() -> None:
    cpus = (CPU, msgspec.structs.replace(CPU, id="cpu:1"))
    assert less_set_aside((CPU, GPU), 0) == (CPU, GPU)
    assert figures(less_set_aside((CPU, GPU), 1000)) == [(15_000, 8_000), (800, 700)]
    assert figures(less_set_aside((CPU,), 1000, 300)) == [(15_000, 8_300)]
    assert figures(less_set_aside(cpus, 1000, 1000)) == [(15_500, 9_000)] * 2
    assert figures(less_set_aside((CPU,), 20_000, 30_000)) == [(0, 9_000)]


def test_falling_asleep_frees_what_a_model_took_of_the_cpu() -> None:
    """The host's figures do not move: what is asleep is where it was."""
    (before,) = less_set_aside((CPU,), 1000, 0)
    (after,) = less_set_aside((CPU,), 1000, 600)
    assert after.memory_free_mb - before.memory_free_mb == 600


@given(
    st.integers(1, 4000),
    st.lists(st.integers(0, 3000), max_size=4),
    st.integers(0, 5000),
    st.integers(0, 5000),
)
def test_free_is_within_total_and_both_within_the_cap(
    cap_mb: int, used: list[int], total_mb: int, free_mb: int
) -> None:
    device = DeviceState("cpu:0", "cpu", "", total_mb, min(free_mb, total_mb))
    models = [model(mb, "cpu:0") for mb in used]
    (shown,) = less_used(capped((device,), cap_mb), models, cap_mb)

    assert 0 <= shown.memory_free_mb <= shown.memory_total_mb <= min(cap_mb, total_mb)
    assert shown.memory_free_mb == max(
        0, min(device.memory_free_mb, shown.memory_total_mb - sum(used))
    )
