"""Who runs, who waits, and who holds which blocks of keys and values. Pure.

Guarantees, checked by ``check_integrity`` and a state machine test:

- a sequence is in one place: running, under suspicion, or in the queue;
- it has blocks if and only if it runs, enough of them for what it has cached, and it shares with
  others only such blocks as nobody writes;
- the ranks' table of whoever lost or gave up its seat is forgotten in the next step;
- one that has become long is computed anew, as such, and shares only with others that are.

A sequence is admitted when its known tokens fit, with a block to spare for each that runs; what it
may grow to is not reserved. When blocks run short, the youngest is preempted: it goes back to the
head of its queue and is computed again later, as far as its blocks have been taken meanwhile.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container
from typing import final

from neuron_runtime.engine.fair_queue import FairQueue
from neuron_runtime.engine.kv_blocks import KvBlocks
from neuron_runtime.engine.sequence import Sequence

_ENDLESS = 1 << 30
_NO_TOKEN = -1


class SeatsCorrupt(AssertionError):
    """Seats, queue and blocks contradict each other; says how."""


@final
class Seats:
    """At most ``count`` sequences run. One thread.

    ``running`` is in order of admission. ``forget`` are sequences whose table the ranks must drop.
    One of more than ``short_context`` tokens is long; 0 if none is.
    """

    def __init__(self, count: int, blocks: KvBlocks) -> None:
        self.count = count
        self.blocks = blocks
        self.running: dict[int, Sequence] = {}
        self.suspects: deque[Sequence] = deque()
        self.queue = FairQueue()
        self.forget: set[int] = set()
        self.short_context = 0

    @property
    def free(self) -> int:
        """How many more could run."""
        return self.count - len(self.running)

    def alive(self) -> list[Sequence]:
        """Return every sequence: those that run, those under suspicion, those that wait."""
        return [*self.running.values(), *self.suspects, *self.queue]

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is."""
        if sequence.id in self.running:
            self._leave(sequence)
        elif sequence in self.suspects:
            self.suspects.remove(sequence)
        else:
            self.queue.remove(sequence)

    def put_back_all(self, blocks: KvBlocks) -> None:
        """The ranks are gone: let all wait, what ran first, for ranks with the pool ``blocks``."""
        for sequence in reversed(self.running.values()):
            self._empty(sequence)
            self.queue.push_front(sequence)
            self.queue.unseat(sequence.principal)
        self.running.clear()
        self.forget.clear()
        self.blocks = blocks

    def suspect(self, sequence: Sequence) -> None:
        """Have a running sequence start again, alone."""
        self._leave(sequence)
        sequence.alone = True
        self.suspects.append(sequence)

    def rewind(self, sequence: Sequence) -> None:
        """Have the ranks make the table of a running sequence anew, with the blocks it has."""
        if sequence.begun:
            self.forget.add(sequence.id)
        sequence.rewind()
        if not self.blocks.count:
            sequence.cached = 0

    # -- before a step --------------------------------------------------------------------------

    def trial(self) -> Sequence | None:
        """Return the one that must be alone in the next step, if there is any."""
        for sequence in self.running.values():
            if sequence.alone:
                return sequence
        if not self.suspects:
            return None
        sequence = self.suspects[0]
        while not self._claim(sequence, 0):
            self._preempt(self._last())
        self.suspects.popleft()
        self._sit(sequence)
        return sequence

    def make_room(self, ahead: int = 1) -> None:
        """Give each that decodes the block it needs next; preempt until they are enough.

        Then those that could not take ``ahead`` tokens get one more each, if there are plenty.
        """
        growing = [each for each in self.running.values() if self._must_grow(each)]
        while len(growing) > self.blocks.available:
            victim = self._last()
            self._preempt(victim)
            growing = [each for each in growing if each is not victim]
        for each in growing:
            each.blocks += self.blocks.take((), 1)
        for each in self.running.values():
            if self.room(each) < ahead and self.blocks.available > len(self.running):
                each.blocks += self.blocks.take((), 1)

    def room(self, sequence: Sequence) -> int:
        """Return how many tokens more fit into the blocks that a sequence has."""
        if not self.blocks.count:
            return _ENDLESS
        return len(sequence.blocks) * self.blocks.block_tokens - sequence.cached

    def give_way(self) -> None:
        """Preempt one for whoever is next, if it has a claim on that one's place."""
        head = self.queue.peek()
        if head is not None and (victim := self._in_the_way(head)) and not self._fits(head):
            self._preempt(victim)

    def admit(self, being_filled: Container[bytes]) -> Sequence | None:
        """Give the next in the queue a seat and blocks for what is known of it.

        None if it must wait: for a seat, for blocks, or because the next step computes what it can
        use (``being_filled``: the keys of blocks that are in that step).
        """
        if self.free <= 0 or (head := self.queue.peek()) is None:
            return None
        if self._profits(head, being_filled) or not self._claim(head, len(self.running)):
            return None
        self._sit(head)
        self.queue.remove(head)
        return head

    # -- after a step ---------------------------------------------------------------------------

    def fed(self, sequence: Sequence, tokens: int) -> None:
        """The ranks have taken ``tokens`` more of a running sequence, and all went well."""
        sequence.cached += tokens
        self.queue.serve(sequence.principal, tokens)
        blocks = self.blocks
        while blocks.count and (sequence.published + 1) * blocks.block_tokens <= sequence.cached:
            place = sequence.published
            blocks.publish(sequence.blocks[place], self._key_at(sequence, place))
            sequence.published += 1

    def lengthened(self, sequence: Sequence) -> None:
        """A running sequence has drawn a token; if it is long now, it waits to be fed as such."""
        if sequence.long != self._is_long(sequence):
            self._preempt(sequence)

    def until_long(self, sequence: Sequence) -> int:
        """Return how many tokens a running sequence may be fed before it has to start again."""
        if sequence.long or not self.short_context:
            return _ENDLESS
        return self.short_context - sequence.length + 1

    def keys(self, sequence: Sequence, count: int) -> list[bytes]:
        """Return the keys of the sequence's first ``count`` full blocks, or more."""
        keys, size = sequence.keys, self.blocks.block_tokens
        for place in range(len(keys), count):
            tokens = sequence.tokens(place * size, (place + 1) * size)
            keys.append(self.blocks.key(keys[-1] if keys else self._root(sequence), tokens))
        return keys

    def check_integrity(self) -> None:
        """Verify what must always hold.

        Raises:
            SeatsCorrupt, KvBlocksCorrupt: It does not.
        """
        running = list(self.running.values())
        self.blocks.check_integrity([each.blocks for each in running])
        told = {each.id for each in running if each.begun}
        waiting = [*self.suspects, *self.queue]
        shares = Counter(each.principal for each in running)
        faults = {
            "the running set is keyed wrongly": any(k != s.id for k, s in self.running.items()),
            "too many run": len(running) + len(self.suspects) > self.count,
            "one without a seat has a cache": any(s.cached or s.begun or s.blocks for s in waiting),
            "more is cached than known": any(each.pending < 1 for each in running),
            "more is cached than its blocks hold": not all(map(self._is_covered, running)),
            "a shared block will be written": not all(map(self._writes_its_own, running)),
            "a living table will be forgotten": bool(self.forget & told),
            "one is long and is not computed so": any(
                each.long != self._is_long(each) for each in running
            ),
            "seats are counted wrongly": any(
                self.queue.seats(each.principal) != shares[each.principal] for each in running
            ),
        }
        wrong = [fault for fault, found in faults.items() if found]
        if wrong:
            raise SeatsCorrupt("; ".join(wrong))

    # -- inside ---------------------------------------------------------------------------------

    def _reusable(self, sequence: Sequence) -> list[int]:
        """Return known blocks with its first tokens; the last token is always computed."""
        if sequence.long != self._is_long(sequence):
            sequence.long = not sequence.long
            sequence.keys.clear()
        if not self.blocks.count:
            return []
        return self.blocks.match(self._key_at(sequence, place) for place in self._places(sequence))

    def _root(self, sequence: Sequence) -> bytes | None:
        return self.blocks.key(None, (_NO_TOKEN,)) if sequence.long else None

    def _is_long(self, sequence: Sequence) -> bool:
        return 0 < self.short_context < sequence.length

    def _places(self, sequence: Sequence) -> range:
        """Return which of its blocks a sequence need not compute, if their content is known."""
        return range((sequence.length - 1) // self.blocks.block_tokens)

    def _key_at(self, sequence: Sequence, place: int) -> bytes:
        # PERF: a key is made when it is asked for; most of a new prompt's never are.
        return self.keys(sequence, place + 1)[place]

    def _claim(self, sequence: Sequence, spare: int) -> bool:
        """Give a sequence blocks for all its known tokens, if there is room."""
        shared = self._reusable(sequence)
        if not self._has_room(sequence, shared, spare):
            return False
        sequence.blocks = self.blocks.take(shared, self._fresh(sequence, shared))
        sequence.published = len(shared)
        sequence.cached = len(shared) * self.blocks.block_tokens
        if sequence.reused is None:
            sequence.reused = sequence.cached
        return True

    def _fresh(self, sequence: Sequence, shared: list[int]) -> int:
        return self.blocks.blocks_for(sequence.length) - len(shared)

    def _has_room(self, sequence: Sequence, shared: list[int], spare: int) -> bool:
        if not self.blocks.count:
            return True
        return self.blocks.has_room(shared, self._fresh(sequence, shared), spare)

    def _profits(self, sequence: Sequence, being_filled: Container[bytes]) -> bool:
        """Whether to wait for the next step saves at least half of the work."""
        if not being_filled:
            return False
        size, have = self.blocks.block_tokens, len(self._reusable(sequence))
        count = 0
        for place in self._places(sequence)[have:]:
            if self._key_at(sequence, place) not in being_filled:
                break
            count += 1
        return 2 * count * size >= sequence.length - have * size

    def _fits(self, sequence: Sequence) -> bool:
        if self.free <= 0:
            return False
        return self._has_room(sequence, self._reusable(sequence), len(self.running))

    def _is_covered(self, sequence: Sequence) -> bool:
        return len(sequence.blocks) >= self.blocks.blocks_for(sequence.cached)

    def _writes_its_own(self, sequence: Sequence) -> bool:
        first = sequence.cached // self.blocks.block_tokens
        return all(self.blocks.is_writable(block) for block in sequence.blocks[first:])

    def _must_grow(self, sequence: Sequence) -> bool:
        return sequence.pending == 1 and self.room(sequence) <= 0

    def _last(self) -> Sequence:
        """Return the first to be preempted: the youngest without a name, else the youngest."""
        running = list(reversed(self.running.values()))
        return next((each for each in running if not each.principal), running[0])

    def _in_the_way(self, head: Sequence) -> Sequence | None:
        """Return whose place ``head`` may claim.

        A named principal's is anyone's without a name; one without a seat's, that of the youngest
        of whoever has the most seats, if these are several.
        """
        if not head.principal or not self.running:
            return None
        last = self._last()
        if not last.principal:
            return last
        if self.queue.seats(head.principal):
            return None
        richest = max(
            reversed(self.running.values()), key=lambda each: self.queue.seats(each.principal)
        )
        return richest if self.queue.seats(richest.principal) > 1 else None

    def _preempt(self, victim: Sequence) -> None:
        self.queue.push_front(victim)
        self._leave(victim)

    def _sit(self, sequence: Sequence) -> None:
        self.running[sequence.id] = sequence
        self.queue.seat(sequence.principal)

    def _leave(self, sequence: Sequence) -> None:
        del self.running[sequence.id]
        self._empty(sequence)
        self.queue.unseat(sequence.principal)

    def _empty(self, sequence: Sequence) -> None:
        if sequence.begun:
            self.forget.add(sequence.id)
        sequence.rewind()
        self.blocks.release(sequence.blocks)
        sequence.blocks = []
        sequence.cached = sequence.published = 0
