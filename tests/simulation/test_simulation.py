"""Fleets in virtual time: whatever goes wrong, nobody is forgotten and nothing is done twice."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.schedule import draw
from tests.simulation.simulation import Simulation
from tests.simulation.world import Broken

BLOCKS = 20
SEEDS = 100
"""In each block; ``make simulate`` runs ten times as many."""


def repeat(seed: int, *sizes: str) -> str:
    return " ".join(("python -m tests.simulation --seed", str(seed), *sizes))


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_property_holds_in_small_fleets(block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        try:
            Simulation(draw(seed)).run()
        except Broken as error:
            pytest.fail(f"{error}\nto repeat it: {repeat(seed)}")


@pytest.mark.parametrize("seed", [6, 10, 20, 24, 25, 38])
def test_every_property_holds_among_hundreds_of_neurons(seed: int) -> None:
    try:
        outcome = Simulation(draw(seed, neurons=200, models=30, requests=100)).run()
    except Broken as error:
        sizes = ("--neurons 200", "--models 30", "--requests 100")
        pytest.fail(f"{error}\nto repeat it: {repeat(seed, *sizes)}")
    assert outcome.done >= 40


def test_a_seed_is_the_same_schedule_in_every_process() -> None:
    told = {
        subprocess.run(
            (sys.executable, "-m", "tests.simulation", "--seed", "7"),
            env=os.environ | {"PYTHONHASHSEED": salt},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.rpartition("\n1 schedules")[0]
        for salt in ("1", "2")
    }

    assert len(told) == 1
