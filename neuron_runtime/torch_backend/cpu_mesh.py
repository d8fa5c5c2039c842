"""Collectives of CPU ranks on one host: shared memory for the numbers, sockets for the turns.

Every rank has one region of memory that it writes and the others read, and a stream socket to each
other rank. A collective is: write your part, send each peer one byte, receive one from each, read
all parts. A region has two slots used in turn. That is enough: a peer's byte for operation n + 1
says that it has read everything of operation n, and nobody writes its part of n + 2, which lies
where that of n did, before having that byte.

The regions are anonymous (memfd) and travel over the sockets, whose names are abstract, so nothing
is left behind whoever dies when. A dead peer is an end-of-file, seen at once.
"""

from __future__ import annotations

import mmap
import os
import secrets
import socket
import struct
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, final

import torch
from torch.distributed.distributed_c10d import Store

SLOT_BYTES: Final = 1 << 20
_REGION_BYTES: Final = 2 * SLOT_BYTES
_TURN: Final = b"\0"
_REMEMBERED_VIEWS: Final = 64
_CREDENTIALS = struct.Struct("3i")


class MeshError(Exception):
    """A peer is gone, or is not who it should be."""


@final
class CpuMesh:
    """One rank's membership in a group of CPU ranks; see ``Collectives``."""

    recordable = False

    def __init__(
        self, rank: int, peers: dict[int, socket.socket], regions: Sequence[torch.Tensor]
    ) -> None:
        self.rank, self.world_size = rank, len(regions)
        self._peers = peers
        self._regions = regions
        self._turn = 0
        self._views: dict[tuple[int, torch.dtype, int], list[torch.Tensor]] = {}

    @classmethod
    def join(
        cls, store: Store, rank: int, world_size: int, join_s: float, collective_s: float
    ) -> CpuMesh:
        """Connect to every other rank; waits for them.

        Raises:
            MeshError: A peer is not who it should be.
            OSError: They did not all come in time.
            RuntimeError: Likewise, as the store says it.
        """
        store.set_timeout(timedelta(seconds=join_s))
        own = os.memfd_create(f"cortex-rank-{rank}", os.MFD_CLOEXEC)
        try:
            os.ftruncate(own, _REGION_BYTES)
            peers, regions = _connect(store, rank, world_size, own, join_s)
        finally:
            os.close(own)
        for peer in peers.values():
            _wait_at_most(peer, collective_s)
        return cls(rank, peers, [regions[number] for number in range(world_size)])

    def add_up(self, part: torch.Tensor) -> torch.Tensor:
        """See ``Collectives``. Half precision is added up in float32."""
        for piece in _pieces(part.view(-1)):
            slots = self._exchange(piece)
            if piece.dtype is torch.float32:
                torch.add(slots[0], slots[1], out=piece)
                for slot in slots[2:]:
                    piece.add_(slot)
            else:
                piece.copy_(torch.stack(slots).sum(0, dtype=torch.float32))
        return part

    def gather(self, part: torch.Tensor) -> torch.Tensor | None:
        """See ``Collectives``."""
        parts = self._collect(part, wanted=self.rank == 0)
        return torch.cat(parts, dim=-1) if parts else None

    def gather_everywhere(self, part: torch.Tensor) -> torch.Tensor:
        """See ``Collectives``."""
        return torch.cat(self._collect(part, wanted=True), dim=-1)

    def leave(self) -> None:
        """Close the sockets, which the others see as our end."""
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()

    def _collect(self, part: torch.Tensor, *, wanted: bool) -> list[torch.Tensor]:
        """Return copies of everybody's parts, or nothing if they are not wanted here."""
        copies: list[list[torch.Tensor]] = [[] for _ in range(self.world_size)]
        for piece in _pieces(part.reshape(-1)):
            slots = self._exchange(piece)
            if wanted:
                for pieces, slot in zip(copies, slots, strict=True):
                    pieces.append(slot.clone())
        return [torch.cat(pieces).view(part.shape) for pieces in copies] if wanted else []

    def _exchange(self, piece: torch.Tensor) -> list[torch.Tensor]:
        """Show everybody our piece; return everybody's, good until the next but one call."""
        self._turn ^= 1
        slots = self._slots(piece)
        slots[self.rank].copy_(piece)
        try:
            for peer in self._peers.values():
                peer.send(_TURN)
            for number, peer in self._peers.items():
                if not peer.recv(1):
                    raise MeshError(f"rank {number} has left the group")
        except OSError as error:
            raise MeshError(f"another rank of the group is gone or stuck: {error}") from error
        return slots

    def _slots(self, piece: torch.Tensor) -> list[torch.Tensor]:
        key = (self._turn, piece.dtype, len(piece))
        views = self._views.get(key)
        if views is None:
            start = self._turn * SLOT_BYTES
            end = start + piece.nbytes
            views = [region[start:end].view(piece.dtype) for region in self._regions]
            if len(self._views) >= _REMEMBERED_VIEWS:
                self._views.clear()
            self._views[key] = views
        return views


def _pieces(flat: torch.Tensor) -> list[torch.Tensor]:
    """Cut a flat tensor into views that fit a slot."""
    size = SLOT_BYTES // flat.element_size()
    if len(flat) <= size:
        return [flat]
    return [flat[start : start + size] for start in range(0, len(flat), size)]


def _connect(
    store: Store, rank: int, world_size: int, own: int, join_s: float
) -> tuple[dict[int, socket.socket], dict[int, torch.Tensor]]:
    """Connect to all lower ranks, accept all higher ones, and swap regions with each."""
    peers: dict[int, socket.socket] = {}
    regions = {rank: _mapped(own)}
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"cortex-{secrets.token_hex(16)}"
        listener.bind(f"\0{name}")
        listener.listen(world_size)
        listener.settimeout(join_s)
        store.set(f"mesh/{rank}", name)
        for lower in range(rank):
            peer = socket.socket(socket.AF_UNIX)
            peer.settimeout(join_s)
            peer.connect(f"\0{store.get(f'mesh/{lower}').decode()}")
            peers[lower], regions[lower] = peer, _swap(peer, rank, own, world_size)[1]
        for _ in range(rank + 1, world_size):
            peer, _ = listener.accept()
            peer.settimeout(join_s)
            number, region = _swap(peer, rank, own, world_size)
            peers[number], regions[number] = peer, region
    return dict(sorted(peers.items())), regions


def _swap(peer: socket.socket, rank: int, own: int, world_size: int) -> tuple[int, torch.Tensor]:
    """Tell the other end our rank and region, and hear its own."""
    # SAFETY: an abstract socket can be reached by every user of the host.
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    if _CREDENTIALS.unpack(credentials)[1] != os.geteuid():
        raise MeshError("a process of another user tried to join the group")
    socket.send_fds(peer, [bytes([rank])], [own])
    data, descriptors, _, _ = socket.recv_fds(peer, 1, 1)
    if not data or not descriptors or data[0] >= world_size:
        raise MeshError("another rank left while the group was forming")
    try:
        return data[0], _mapped(descriptors[0])
    finally:
        os.close(descriptors[0])


def _mapped(descriptor: int) -> torch.Tensor:
    return torch.frombuffer(mmap.mmap(descriptor, _REGION_BYTES), dtype=torch.uint8)


def _wait_at_most(peer: socket.socket, seconds: float) -> None:
    # PERF: a kernel timeout on a blocking socket is one system call a wait; Python's own is two.
    peer.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        peer.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), 0))
