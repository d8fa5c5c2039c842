"""A daemon as small as can be around a real engine process and its real ranks."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from pathlib import Path

from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.launcher import ProcessExit, ProcessHandle, ProcessSpec
from tests.process.neuron import WAIT_S, Neuron
from transports.identity import process_identity
from transports.link import CallEvent, Chunk, Identity, IncomingRequest, Link
from transports.schemas.body import Body
from transports.schemas.daemon import (
    EngineReady,
    GroupBroken,
    GroupReady,
    GroupStart,
    KillMember,
    Member,
    MemberDown,
)
from transports.schemas.generate import TextDelta
from transports.schemas.link import Failure

MODEL = "m"


class Handler:
    """A ``LinkHandler`` that has nothing to say."""

    def on_up(self, link: Link) -> None:
        pass

    def on_request(self, request: IncomingRequest) -> None:
        raise AssertionError(request)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        pass

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        pass


class EngineDaemon(Handler):
    """Starts an engine and one group after another; a broken one is killed, reaped and replaced.

    Its state belongs to the reactor's thread; tests wait for the events and queues.
    """

    def __init__(self, neuron: Neuron, model_dir: Path, world: int, *, slow_s: float = 0.0) -> None:
        self.neuron = neuron
        self.world = world
        self.slow_s = slow_s
        self.endpoint = ""
        self.ready = threading.Event()
        self.link: Link | None = None
        self.linked = threading.Event()
        self.epochs: queue.SimpleQueue[GroupReady] = queue.SimpleQueue()
        self.broken: list[GroupBroken] = []
        self.refusals: queue.SimpleQueue[Failure] = queue.SimpleQueue()
        self.members: dict[int, tuple[Member, ProcessHandle]] = {}
        self._epoch = 0
        self._replacing = False
        self._parent = f"ipc://{neuron.directory}/daemon.ipc"
        me = Identity(neuron.mint.boot, 0, 0, 0, "daemon", "daemon")
        self._listener = neuron.reactor.listen(self._parent, me, self)
        self.ended: queue.SimpleQueue[ProcessExit] = queue.SimpleQueue()
        self.engine = self._spawn_engine(model_dir)

    # -- for tests ------------------------------------------------------------------------------

    def start_group(self) -> None:
        """Start the first epoch and wait until it has loaded."""
        assert self.ready.wait(WAIT_S)
        self.neuron.on_reactor(self._next_epoch)
        self.epochs.get(timeout=WAIT_S)

    def handle(self, rank: int) -> ProcessHandle:
        """The process of ``rank`` in the present epoch."""
        by_rank = {member.rank: handle for member, handle in self.members.values()}
        return by_rank[rank]

    def tell(self, body: Body) -> None:
        """Send the engine a note."""
        link = self.link
        assert link is not None
        self.neuron.on_reactor(lambda: link.note(body))

    def client(self) -> Link:
        """Connect to the data plane."""
        links: queue.SimpleQueue[Link] = queue.SimpleQueue()

        class Client(Handler):
            def on_up(self, link: Link) -> None:
                links.put(link)

        self.neuron.reactor.connect(self.endpoint, process_identity("front_end", "t"), Client())
        return links.get(timeout=WAIT_S)

    def close(self) -> None:
        """Stop the engine, which dismisses its ranks; listen no more, and remove its socket."""
        self.engine.stop(grace_s=2.0)
        assert self.engine.exited.wait(WAIT_S)
        self._listener.close()
        self._group_socket.unlink(missing_ok=True)

    # -- LinkHandler ----------------------------------------------------------------------------

    def on_up(self, link: Link) -> None:
        self.link = link
        self.linked.set()

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        match body:
            case EngineReady(endpoint):
                self.endpoint = endpoint
                self.ready.set()
            case GroupReady():
                self.epochs.put(body)
            case GroupBroken():
                self.broken.append(body)
                self._replacing = True
                for _, handle in self.members.values():
                    handle.kill()
                self._replace_when_reaped()
            case Failure():
                self.refusals.put(body)
            case KillMember(inc=inc, reason=reason):
                self.members[inc][1].kill(ExitKind(reason))

    # -- processes ------------------------------------------------------------------------------

    @property
    def _group_socket(self) -> Path:
        return self.neuron.directory / f"group-{self._epoch}.ipc"

    def _next_epoch(self) -> None:
        self._epoch += 1
        mint, members = self.neuron.mint, []
        for rank in range(self.world):
            slot = mint.slot(f"rank{rank}")
            members.append(Member(rank, slot, mint.mint(slot), "cpu"))
        endpoint = f"ipc://{self._group_socket}"
        for member in members:
            self.members[member.inc] = (member, self._spawn_rank(member, endpoint))
        assert self.link is not None
        self.link.note(GroupStart(self._epoch, endpoint, tuple(members), "", WAIT_S))

    def _rank_ended(self, epoch: int, end: ProcessExit) -> None:
        self.members.pop(end.inc, None)
        if self.engine.exited.is_set() or self.link is None:
            return
        self.link.note(MemberDown(epoch, end.slot, end.inc, str(end.exit_reason)))
        self._replace_when_reaped()

    def _replace_when_reaped(self) -> None:
        if self._replacing and not self.members:
            self._replacing = False
            self._next_epoch()

    def _spawn_engine(self, model_dir: Path) -> ProcessHandle:
        slot = self.neuron.mint.slot("engine")
        args = (
            *("--model-id", MODEL),
            *("--model-dir", str(model_dir)),
            *("--listen", "tcp://127.0.0.1:*"),
            *("--dtype", "float32"),
        )
        return self._spawn("neuron_runtime.engine_main", "engine", args, slot, {})

    def _spawn_rank(self, member: Member, endpoint: str) -> ProcessHandle:
        epoch, reactor = self._epoch, self.neuron.reactor
        slow = f"slow-step@before:times=1000000:seconds={self.slow_s}" if self.slow_s else ""
        args = ("--boot", f"{self.neuron.mint.boot}", "--parent", endpoint, "--backend", "fake")

        def ended(end: ProcessExit) -> None:
            reactor.call_soon(lambda: self._rank_ended(epoch, end))

        return self.neuron.launcher.spawn(
            ProcessSpec(
                name=f"rank{member.rank}",
                module="neuron_runtime.worker_main",
                args=args,
                slot=member.slot,
                inc=member.inc,
                on_exit=ended,
                env={"CORTEX_FAULT": slow, "CORTEX_LOG_LEVEL": "WARNING"},
            )
        )

    def _spawn(
        self, module: str, name: str, args: tuple[str, ...], slot: int, env: Mapping[str, str]
    ) -> ProcessHandle:
        identity = ("--boot", f"{self.neuron.mint.boot}", "--parent", self._parent)
        return self.neuron.launcher.spawn(
            ProcessSpec(
                name=name,
                module=module,
                args=(*identity, *args),
                slot=slot,
                inc=self.neuron.mint.mint(slot),
                on_exit=self.ended.put,
                env={"CORTEX_LOG_LEVEL": "WARNING", **env},
            )
        )


class Stream:
    """What a client has got; written on the reactor's thread, read anywhere."""

    def __init__(self) -> None:
        self.deltas: list[TextDelta] = []
        self.ends: queue.SimpleQueue[CallEvent] = queue.SimpleQueue()

    def __call__(self, event: CallEvent) -> None:
        if isinstance(event, Chunk):
            self.deltas.append(event.payload)
        else:
            self.ends.put(event)

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)
