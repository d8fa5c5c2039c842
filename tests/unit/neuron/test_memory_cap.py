"""What a neuron with a memory cap offers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.neuron.memory_cap import capped, less_used
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
