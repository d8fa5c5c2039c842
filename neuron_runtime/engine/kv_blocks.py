"""The blocks of keys and values that the ranks hold, and which content can be used again. Pure.

Guarantees, checked by ``check_integrity`` and a state machine test:

- a block is unused, idle (nobody's, but its content is known), or held: exactly one of them;
- content is known only of full blocks whose step has closed well, and such a block is never written
  again while its content is known;
- what is taken comes from the unused first, then from the idle, the longest unused of them first.

A block's content depends on all tokens before it, so its key is a hash chained from the start.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import final

_KEY_BYTES = 16


class KvBlocksCorrupt(AssertionError):
    """The pool's state contradicts itself; says how."""


@final
class KvBlocks:
    """A pool of ``count`` blocks of ``block_tokens`` tokens, numbered from 0. One thread.

    Without a count the ranks keep what they are fed in their own way: no block is ever needed or
    handed out, and nothing is used again.
    """

    def __init__(self, count: int, block_tokens: int, salt: bytes = b"") -> None:
        self.count = count
        self.block_tokens = block_tokens
        self._root = _digest(salt)
        self._unused = list(range(count - 1, -1, -1))
        self._holders = [0] * count
        self._key_of: dict[int, bytes] = {}
        self._by_key: dict[bytes, int] = {}
        self._idle: dict[int, None] = {}

    @property
    def available(self) -> int:
        """How many blocks can be taken."""
        return len(self._unused) + len(self._idle)

    def blocks_for(self, tokens: int) -> int:
        """Return how many blocks ``tokens`` tokens fill, the last of them perhaps in part."""
        return -(-tokens // self.block_tokens) if self.count else 0

    def key(self, parent: bytes | None, tokens: Iterable[int]) -> bytes:
        """Return the key of a full block of ``tokens`` that follows the block ``parent``."""
        return _digest(parent or self._root, array("q", tokens).tobytes())

    def match(self, keys: Iterable[bytes]) -> list[int]:
        """Return the blocks that hold the longest known prefix of ``keys``; asks for no more."""
        found = []
        for key in keys:
            block = self._by_key.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def has_room(self, shared: Sequence[int], fresh: int, spare: int = 0) -> bool:
        """Whether ``take`` would leave ``spare`` blocks available."""
        revived = sum(not self._holders[block] for block in shared)
        return self.available - revived >= fresh + spare

    def take(self, shared: Sequence[int], fresh: int) -> list[int]:
        """Hold the ``shared`` blocks of a match and ``fresh`` ones for content to come.

        There must be room.
        """
        for block in shared:
            if not self._holders[block]:
                del self._idle[block]
            self._holders[block] += 1
        return [*shared, *(self._fresh() for _ in range(fresh))]

    def release(self, blocks: Sequence[int]) -> None:
        """Give a table's blocks back; what is known of them stays known until they are taken."""
        # The last first: without its predecessors a block is of no use, so it must go before them.
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._key_of:
                self._idle[block] = None
            else:
                self._unused.append(block)

    def publish(self, block: int, key: bytes) -> None:
        """The held ``block`` has the content ``key``; of two with the same, the first is known."""
        if key not in self._by_key:
            self._by_key[key] = block
            self._key_of[block] = key

    def forget_content(self) -> None:
        """Nothing is known of any block any more."""
        self._by_key.clear()
        self._key_of.clear()
        self._unused.extend(self._idle)
        self._idle.clear()

    def is_writable(self, block: int) -> bool:
        """Whether one table alone holds the block, and its content is not known."""
        return self._holders[block] == 1 and block not in self._key_of

    def check_integrity(self, tables: Iterable[Sequence[int]]) -> None:
        """Verify what must always hold, given the blocks of every living table.

        Raises:
            KvBlocksCorrupt: It does not.
        """
        held = Counter(block for table in tables for block in table)
        places = [*self._unused, *self._idle, *(b for b, n in enumerate(self._holders) if n)]
        faults = {
            "a block is in two places or none": sorted(places) != list(range(self.count)),
            "a block's holders are not those that hold it": held
            != Counter({b: n for b, n in enumerate(self._holders) if n}),
            "an idle block has no content": not self._idle.keys() <= self._key_of.keys(),
            "an unused block has content": any(b in self._key_of for b in self._unused),
            "keys and blocks disagree": {b: k for k, b in self._by_key.items()} != self._key_of,
        }
        wrong = [fault for fault, found in faults.items() if found]
        if wrong:
            raise KvBlocksCorrupt("; ".join(wrong))

    def _fresh(self) -> int:
        if self._unused:
            block = self._unused.pop()
        else:
            block = next(iter(self._idle))
            del self._idle[block]
            del self._by_key[self._key_of.pop(block)]
        self._holders[block] = 1
        return block


def _digest(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=_KEY_BYTES).digest()
