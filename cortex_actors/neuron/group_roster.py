"""The membership of one model's tensor-parallel group, epoch by epoch.

Owned by the group's supervisor: ranks are started in order on its thread, rank 0 first, so starting
rank 0 begins a new epoch (one_for_all never restarts a rank alone).
"""

from __future__ import annotations

from pathlib import Path
from typing import final

from cortex_actors.kit.ref import ActorRef
from transports.schemas.daemon import Member


@final
class GroupRoster:
    """Who belongs to the current epoch, and where its ranks meet their engine."""

    def __init__(self, runtime_dir: Path, tag: str, devices: tuple[str, ...]) -> None:
        self._runtime_dir = runtime_dir
        self._tag = tag
        self.devices = devices
        self.epoch = 0
        self._members: list[Member] = []
        self._refs: dict[int, ActorRef] = {}

    @property
    def endpoint(self) -> str:
        """The ipc address at which the engine awaits this epoch's ranks."""
        return f"ipc://{self._runtime_dir}/{self._tag}-{self.epoch}.ipc"

    @property
    def rendezvous(self) -> str:
        """The file through which this epoch's ranks find each other's collectives."""
        return f"file://{self._runtime_dir}/{self._tag}-{self.epoch}.rdv"

    @property
    def members(self) -> tuple[Member, ...]:
        """The current epoch's members, in rank order."""
        return tuple(self._members)

    @property
    def refs(self) -> dict[int, ActorRef]:
        """The current epoch's rank actors by incarnation."""
        return dict(self._refs)

    def open_epoch(self) -> None:
        """Begin the next epoch, empty; the former one's files go."""
        self.remove_files()
        self.epoch += 1
        self._members.clear()
        self._refs.clear()

    def enrol(self, member: Member, ref: ActorRef) -> None:
        """Add a rank to the current epoch."""
        self._members.append(member)
        self._refs[member.inc] = ref

    def remove_files(self) -> None:
        """Delete what the current epoch left in the runtime directory."""
        for address in (self.endpoint, self.rendezvous):
            Path(address.partition("://")[2]).unlink(missing_ok=True)
