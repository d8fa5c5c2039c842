"""What an engine's steps and queue are bounded by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

BLOCK_TOKENS = 16


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """How many sequences run and wait, and how many tokens a step feeds.

    ``step_tokens`` is the limit of a step in which something decodes, ``prefill_tokens`` that of
    any other. ``block_tokens`` tokens share a block of keys and values. A step in which all decode
    is at most so many ``rounds``.
    """

    max_running: int = 16
    max_queued: int = 64
    prefill_tokens: int = 1024
    step_tokens: int = 256
    block_tokens: int = BLOCK_TOKENS
    rounds: int = 8
