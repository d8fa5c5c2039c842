"""Which sequences share a padded batch. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_SLACK_TOKENS = 16
_SLACK_SHARE = 4


def length_buckets(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Divide sequences, given by their lengths, into batches of similar length.

    A batch holds at most ``max_tokens`` tokens after padding, but at least one sequence. Padding
    adds at most a quarter to a sequence, or 16 tokens. Returns indexes, the longest first.
    """
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        slack = max(_SLACK_TOKENS, longest // _SLACK_SHARE)
        fits = batches and (len(batches[-1]) + 1) * longest <= max_tokens
        if fits and longest - lengths[index] <= slack:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return batches
