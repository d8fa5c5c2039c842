"""Which core a front-end process stays on, if on any. Pure."""

from __future__ import annotations

from collections.abc import Collection


def worker_core(seat: int, workers: int, cores: Collection[int]) -> int | None:
    """Return the core of the process with this seat, from 0; None leaves it to the kernel.

    PERF: a process whose threads take turns at the interpreter uses one core at a time, and each
    turn on another one begins with cold caches (a third of all requests, see performance.md). So
    each has a core of its own where there are processes for all of them; where there are more cores
    the kernel may have a better one.
    """
    if workers < len(cores):
        return None
    return sorted(cores)[seat % len(cores)]
