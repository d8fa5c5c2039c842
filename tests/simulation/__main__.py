"""Run schedules by their seeds: ``python -m tests.simulation --seed N`` shows one as it goes."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.schedule import draw
from tests.simulation.simulation import Simulation
from tests.simulation.world import Broken


def main() -> int:
    """Return 1 if a property does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the schedule, or the first of many")
    parser.add_argument("--count", type=int, default=1, help="how many; more than 1 are not shown")
    parser.add_argument("--neurons", type=int, help="how many neurons (default: drawn)")
    parser.add_argument("--models", type=int, help="how many models (default: drawn)")
    parser.add_argument("--requests", type=int, help="how many requests (default: drawn)")
    asked = parser.parse_args()
    broken = 0
    began = time.process_time()
    for seed in range(asked.seed, asked.seed + asked.count):
        schedule = draw(seed, neurons=asked.neurons, models=asked.models, requests=asked.requests)
        try:
            outcome = Simulation(schedule, print if asked.count == 1 else None).run()
        except Broken as error:
            broken += 1
            print(f"seed {seed}: {error}")
        else:
            if asked.count == 1:
                print(outcome)
    print(
        f"{asked.count} schedules, {broken} broken, {time.process_time() - began:.1f} s of CPU time"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
