"""What ``ps`` and ``/proc`` show as this process's command line."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

# Numbers of the fields that proc(5) calls arg_start and arg_end, behind the process's name.
_ARG_START, _ARG_END = 45, 46


def show_command_line(words: Sequence[str]) -> None:
    """Show ``words`` in place of what this process was started with, as far as there is room.

    The room is the memory of the first command line, which Python has copied long ago.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    size = end - start
    shown = b"".join(word.encode() + b"\0" for word in words)[: size - 1]
    ctypes.memmove(start, shown.ljust(size, b"\0"), size)
