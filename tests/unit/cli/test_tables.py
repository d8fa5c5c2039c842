"""What operators see of a daemon's state."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

from cortex_actors.cli.tables import describe_status, neuron_table, replica_table


def printed(table: Table) -> list[list[str]]:
    """Return the rows under the heading as cells; two spaces or more divide them."""
    console = Console(file=StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()[1:]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def neuron(**more: Any) -> dict[str, Any]:
    return {"name": "n1", "state": "up", "hostname": "box", "models": [], "uptime_s": 60.0} | more


def test_the_ages_of_a_neurons_word_and_of_its_measurements_are_shown() -> None:
    device = {"id": "cpu:0", "memory_free_mb": 1024, "memory_total_mb": 2048, "age_s": 4.2}
    ((*_, age),) = printed(neuron_table([neuron(age_s=0.7, devices=[device])]))
    assert age == "0.7 s (devices 4.2 s)"

    ((*_, age),) = printed(neuron_table([neuron(age_s=91.0, state="down", devices=[])]))
    assert age == "91.0 s"


def test_a_model_that_waits_for_its_turn_is_shown_with_the_neuron() -> None:
    assert printed(replica_table([neuron(pending=["a"])])) == [["a", "n1", "waits for its turn"]]
    waiting = {"id": "a", "status": "unloaded", "pending_on": ["n1", "n2"]}
    assert describe_status(waiting) == "unloaded, waits for its turn on n1, n2"
    loading = {**waiting, "status": "starting", "progress": 0.5}
    assert describe_status(loading) == "starting 50%"
