"""Reading the tables of docs/, so that tests can hold them against the code."""

from __future__ import annotations


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows that begin with a name in backticks: the other cells, by that name."""
    found = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found[name.strip("`")] = cells
    return found
