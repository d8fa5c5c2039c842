"""What a request's prompt begins with, as hashes that say nothing of it. Pure.

Each hash is over everything before its block's end, so two prompts share as many hashes as they
share leading blocks. An engine has blocks of tokens, which only it knows; blocks of bytes will do
to find the replica that has seen a prompt like this.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from transports.schemas.generate import Embed, Generate

BLOCK_BYTES: Final = 512
MOST_BLOCKS: Final = 32
_UNKNOWN_OUTPUT: Final = 256
_BYTES_A_TOKEN: Final = 4

# Not msgpack, which says how long a text is before the text: then no two lengths begin alike.
_ENCODER = msgspec.json.Encoder()


def prompt_bytes(question: Generate) -> bytes:
    """Return the prompt's parts in the order in which templates show them."""
    parts = [_ENCODER.encode(tool) for tool in question.tools]
    parts += [_ENCODER.encode(message) for message in question.messages]
    if question.prompt is not None:
        parts.append(_ENCODER.encode(question.prompt))
    return b"".join(parts)


def prefix_hashes(prompt: bytes) -> tuple[int, ...]:
    """Return a hash (64 bits) for each whole leading block, the first block's first."""
    count = min(len(prompt) // BLOCK_BYTES, MOST_BLOCKS)
    hashes = []
    running = hashlib.blake2b(digest_size=8)
    for block in range(count):
        running.update(prompt[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES])
        hashes.append(int.from_bytes(running.copy().digest(), "big"))
    return tuple(hashes)


def expected_tokens(question: Generate | Embed, prompt: bytes) -> int:
    """Return about how many tokens the request will cost: its prompt's and its output's."""
    if isinstance(question, Embed):
        return sum(max(len(each) // _BYTES_A_TOKEN, 1) for each in question.inputs)
    output = question.sampling.max_tokens or _UNKNOWN_OUTPUT
    return len(prompt) // _BYTES_A_TOKEN + question.n * output
