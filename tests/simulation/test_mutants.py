"""A simulation that finds nothing proves nothing: every known mistake must break some schedule."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.schedule import draw
from tests.simulation.simulation import Simulation
from tests.simulation.world import Broken

MOST_SEEDS = 80
"""Twice what the slowest to be found needs."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_is_found_out(mutant: Mutant) -> None:
    for seed in range(mutant.first_seed, mutant.first_seed + MOST_SEEDS):
        try:
            with mutant.made():
                Simulation(draw(seed)).run()
        except Broken:
            return
    pytest.fail(f"{mutant.name} is not found out by {MOST_SEEDS} seeds")
