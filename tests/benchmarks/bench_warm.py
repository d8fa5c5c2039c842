"""What the warm tier saves: two models take turns where only one has room.

    python -m tests.benchmarks.bench_warm [--swaps 7] [--model-cache DIR]

One neuron and a gateway, as processes. A request for the model that is not loaded evicts the other
one: its time to the first token holds the eviction, the load and the first step. ``load`` is what
the neuron has measured of the load alone. Without a fork server, with one, and with a warm tier.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from tests.e2e.wide_fleet import WideFleet, entry
from transports.clock import MonotonicClock

MODELS = ("first", "second")
VARIANTS: dict[str, dict[str, Any]] = {
    "cold": {"preload": False},
    "cold, preloaded": {"preload": True},
    "warm": {"warm_mb": 1000},
}


@final
@dataclass(slots=True)
class Swaps:
    """Seconds of each swap, to the first token and of the load alone."""

    first_token_s: list[float] = field(default_factory=list)
    load_s: list[float] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """Return medians and ranges."""
        return {
            name: {
                "median": round(statistics.median(values), 3),
                "least": round(min(values), 3),
                "most": round(max(values), 3),
                "swaps": len(values),
            }
            for name, values in (("first_token_s", self.first_token_s), ("load_s", self.load_s))
        }


def measure(cache_dir: Path, settings: dict[str, Any], swaps: int) -> Swaps:
    """Have the two models take turns; the first turn of each is not counted."""
    models = [entry(model, "int8", 500) for model in MODELS]
    # An ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        fleet = WideFleet(Path(directory), cache_dir, {"only": 800}, models, **settings)
        fleet.start()
        try:
            return _take_turns(fleet, swaps)
        finally:
            fleet.stop()


def _take_turns(fleet: WideFleet, swaps: int) -> Swaps:
    found, clock = Swaps(), MonotonicClock()
    for turn in range(swaps + 2 * len(MODELS)):
        model, other = MODELS[turn % 2], MODELS[1 - turn % 2]
        began = clock.now()
        stream = fleet.client().chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Say hello."}],
            max_tokens=8,
            stream=True,
        )
        first_token_s = next(
            clock.now() - began
            for chunk in stream
            if chunk.choices and chunk.choices[0].delta.content
        )
        for _ in stream:
            pass
        if turn >= 2 * len(MODELS):
            (row,) = fleet.http.post("/admin/plan", json={"model": other}).json()["neurons"]
            found.first_token_s.append(first_token_s)
            found.load_s.append(row["load_s"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--swaps", type=int, default=7)
    parser.add_argument("--model-cache", type=Path, help="of converted models; made if missing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cortex-cache-") as temporary:
        cache_dir = arguments.model_cache or Path(temporary)
        for name, settings in VARIANTS.items():
            found = measure(cache_dir, settings, arguments.swaps)
            print(json.dumps({"variant": name, **found.report()}), flush=True)


if __name__ == "__main__":
    main()
