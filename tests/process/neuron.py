"""A daemon and an engine in one: what real ranks need around them, without actors."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.group_driver import GroupDriver
from neuron_runtime.incarnation import IncarnationMint, mint_boot
from neuron_runtime.launcher import Launcher, ProcessExit, ProcessHandle, ProcessSpec
from neuron_runtime.outcome import Ok, Outcome
from tests.process.tenant import Spawner
from transports.link import Identity
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.daemon import GroupStart, Member, MemberDown
from transports.schemas.group import InjectFault, LoadShard
from transports.schemas.link import LinkDrops

WAIT_S = 15.0
T = TypeVar("T")


class Epoch:
    """One group of real ranks; deaths are passed on to its driver as the daemon would."""

    def __init__(
        self,
        neuron: Neuron,
        world: int,
        env: Mapping[int, str],
        start_s: float = WAIT_S,
        *,
        late: bool = False,
    ) -> None:
        self.neuron = neuron
        self.number = neuron.next_epoch()
        self.exits: queue.SimpleQueue[ProcessExit] = queue.SimpleQueue()
        self.kills: list[tuple[int, int, str]] = []
        self.drops: list[LinkDrops] = []
        self.broken = threading.Event()
        self.broken_message = ""
        self.fence_on_break = True
        self.members = []
        for rank in range(world):
            slot = neuron.mint.slot(f"model/{rank}")
            self.members.append(Member(rank, slot, neuron.mint.mint(slot), "cpu"))
        endpoint = f"ipc://{neuron.directory}/group-{self.number}.ipc"
        self.start = GroupStart(self.number, endpoint, tuple(self.members), "", start_s)
        if not late:
            self.open()
        self.handles = [self._spawn(member, env.get(member.rank, "")) for member in self.members]

    def open(self) -> None:
        """Listen for the ranks."""
        self.driver = self.neuron.on_reactor(self._make_driver)

    def _make_driver(self) -> GroupDriver:
        return GroupDriver(
            self.neuron.reactor,
            self.neuron.me,
            self.start,
            request_kill=self._kill,
            on_broken=self._on_broken,
            on_drops=self.drops.append,
        )

    def _spawn(self, member: Member, fault: str) -> ProcessHandle:
        args = ("--boot", f"{self.neuron.mint.boot}", "--parent", self.start.endpoint)
        spec = ProcessSpec(
            name=f"rank-{member.rank}",
            module="neuron_runtime.worker_main",
            args=(*args, "--backend", "fake"),
            slot=member.slot,
            inc=member.inc,
            on_exit=self._on_exit,
            env={"CORTEX_FAULT": fault, "CORTEX_LOG_LEVEL": "WARNING"},
        )
        return self.neuron.launcher.spawn(spec)

    def _on_exit(self, end: ProcessExit) -> None:
        self.exits.put(end)
        notice = MemberDown(self.number, end.slot, end.inc, str(end.exit_reason))
        self.neuron.reactor.call_soon(lambda: self.driver.member_down(notice))
        if self.fence_on_break and not end.exit_reason.normal:
            for handle in self.handles:
                handle.kill()

    def _kill(self, slot: int, inc: int, reason: str) -> None:
        self.kills.append((slot, inc, reason))
        for handle in self.handles:
            if (handle.slot, handle.inc) == (slot, inc):
                handle.kill(ExitKind(reason))

    def _on_broken(self, code: str, message: str) -> None:
        self.broken_message = f"{code}: {message}"
        self.broken.set()
        if self.fence_on_break:
            for handle in self.handles:
                handle.kill()

    def load_later(self) -> queue.SimpleQueue[Outcome]:
        """Begin to load; the outcome comes through the queue."""
        outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()

        def shard(member: Member) -> LoadShard:
            return LoadShard("", member.rank, len(self.members), "cpu", "float32", "", 1)

        self.neuron.on_reactor(lambda: self.driver.load(shard, outcomes.put))
        return outcomes

    def load(self) -> Outcome:
        """Load on all ranks."""
        return self.load_later().get(timeout=WAIT_S)

    def execute_later(
        self, operation: Body, deadline_s: float = WAIT_S
    ) -> queue.SimpleQueue[Outcome]:
        """Begin an operation; the outcome comes through the queue."""
        outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self.neuron.on_reactor(lambda: self.driver.execute(operation, deadline_s, outcomes.put))
        return outcomes

    def execute(self, operation: Body, deadline_s: float = WAIT_S) -> Outcome:
        """Execute an operation on all ranks."""
        return self.execute_later(operation, deadline_s).get(timeout=WAIT_S)

    def inject(self, fault: InjectFault) -> None:
        """Pass an operator's order to misbehave on to a rank."""
        self.neuron.on_reactor(lambda: self.driver.inject(fault))

    def end(self, grace_s: float = 2.0, term_s: float = 1.0) -> None:
        """Dismiss the ranks and wait until they are gone."""
        self.neuron.on_reactor(self.driver.close)
        for handle in self.handles:
            handle.stop(grace_s, term_s)
        for handle in self.handles:
            assert handle.exited.wait(WAIT_S)


class Neuron:
    """Owns the reactor of one test, and what starts its processes: if not given, a launcher."""

    def __init__(self, directory: Path, launcher: Spawner | None = None) -> None:
        self.directory = directory
        self.mint = IncarnationMint(mint_boot())
        self.me = Identity(self.mint.boot, 0, 0, 0, "engine", "engine")
        self.launcher = launcher or Launcher()
        self.reactor = Reactor("engine")
        self.reactor.start()
        self._epochs = 0

    def next_epoch(self) -> int:
        """Number the next group."""
        self._epochs += 1
        return self._epochs

    def on_reactor(self, fn: Callable[[], T]) -> T:
        """Run ``fn`` where the engine would, and return what it returns."""
        result: Future[T] = Future()

        def body() -> None:
            try:
                result.set_result(fn())
            except Exception as error:  # noqa: BLE001 - raised again in the test
                result.set_exception(error)

        self.reactor.call_soon(body)
        return result.result(WAIT_S)

    def ready_group(self, world: int = 2, env: Mapping[int, str] | None = None) -> Epoch:
        """Start a group and load it."""
        epoch = Epoch(self, world, env or {})
        assert isinstance(epoch.load(), Ok)
        return epoch

    def close(self) -> None:
        """End everything; no process is left."""
        assert self.launcher.stop(WAIT_S)
        self.reactor.stop()
        assert self.reactor.join(WAIT_S)
