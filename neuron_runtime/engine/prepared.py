"""What takes time to make of a question, so that another thread may have to make it."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_runtime.engine.grammar_mask import GrammarMask


@dataclass(frozen=True, slots=True)
class Prepared:
    """The prompt's token ids, and the mask of an output that is constrained."""

    prompt: tuple[int, ...]
    mask: GrammarMask | None = None
