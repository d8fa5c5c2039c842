"""One accepted request for embeddings: its inputs and the vectors that are known."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from neuron_runtime.engine.vectors import shorten


@dataclass(slots=True, eq=False)
class EmbeddingJob:
    """All that is needed to go on, on this group or on its successor.

    ``pending`` are the indexes of inputs that are in no step; ``rows`` the finished vectors. A job
    that is ``alone`` is under suspicion and shares no step. ``deadline`` and ``arrived`` are
    monotonic seconds; ``dimensions`` is the asked length of a vector, None for all of it;
    ``principal`` is whose it is, empty if nobody knows.
    """

    id: int
    inputs: tuple[tuple[int, ...], ...]
    dimensions: int | None = None
    deadline: float | None = None
    arrived: float = 0.0
    principal: str = ""
    pending: deque[int] = field(default_factory=deque)
    rows: dict[int, bytes] = field(default_factory=dict)
    started: bool = False
    alone: bool = False

    def __post_init__(self) -> None:
        self.pending.extend(range(len(self.inputs)))

    @property
    def tokens(self) -> int:
        """How many tokens the inputs have together."""
        return sum(map(len, self.inputs))

    @property
    def finished(self) -> bool:
        """Whether every input has its vector."""
        return len(self.rows) == len(self.inputs)

    def store(self, index: int, row: bytes) -> None:
        """Keep a vector, cut to the asked length."""
        self.rows[index] = row if self.dimensions is None else shorten(row, self.dimensions)
