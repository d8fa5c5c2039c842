"""A whole engine on an in-process network, with a daemon and clients to talk to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from neuron_runtime.backends.fake import fake_token
from neuron_runtime.engine.admission import Admission
from neuron_runtime.engine.daemon_link import DaemonLink, Reports
from neuron_runtime.engine.engine import Engine
from neuron_runtime.engine.epochs import Epochs
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.other_thread import Start, start_thread
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.tokenizer import Tokenizer
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.group_driver import OnBroken, RequestKill
from tests.unit.engine.memory_group import MemoryGroup
from transports.errors import EndpointError
from transports.inproc import InprocNetwork
from transports.link import (
    Call,
    CallEvent,
    Chunk,
    Completed,
    Failed,
    Identity,
    IncomingRequest,
    Link,
    Progress,
)
from transports.schemas.body import Body
from transports.schemas.daemon import GroupStart, Member
from transports.schemas.generate import Generate, GenerateDone, SamplingOptions, TextDelta
from transports.schemas.group import LoadShard, SampleParams
from transports.schemas.link import Failure

B = TypeVar("B", bound=Body)
ENGINE, DAEMON = "inproc://engine", "inproc://daemon"
GREEDY = SamplingOptions(temperature=0.0, max_tokens=8)


class Peer:
    """A ``LinkHandler`` that remembers what it was told."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.notes: list[Body] = []
        self.downs: list[str] = []

    def on_up(self, link: Link) -> None:
        self.link = link

    def on_request(self, request: IncomingRequest) -> None:
        raise AssertionError(request)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        self.notes.append(body)

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        self.downs.append(reason)

    def told(self, kind: type[B]) -> list[B]:
        return [note for note in self.notes if isinstance(note, kind)]


@dataclass
class Answer:
    """What one request has got so far."""

    deltas: list[TextDelta] = field(default_factory=list)
    ends: list[CallEvent] = field(default_factory=list)
    notes: list[Body] = field(default_factory=list)
    call: Call | None = None

    def __call__(self, event: CallEvent) -> None:
        if isinstance(event, Chunk):
            assert not self.ends
            assert event.index == len(self.deltas)
            self.deltas.append(event.payload)
        elif isinstance(event, Progress):
            assert not self.ends
            self.notes.append(event.body)
        else:
            self.ends.append(event)

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def done(self) -> GenerateDone:
        (end,) = self.ends
        assert isinstance(end, Completed)
        assert isinstance(end.body, GenerateDone)
        return end.body

    @property
    def failure(self) -> Failure:
        (end,) = self.ends
        assert isinstance(end, Failed)
        return end.failure


class EngineBench:
    """Everything of an engine process but the process."""

    def __init__(
        self,
        model_dir: Path,
        *,
        facts: ModelFacts | None = None,
        limits: Limits | None = None,
        start: Start = start_thread,
    ) -> None:
        self.network = InprocNetwork()
        self.tokenizer = Tokenizer.load(model_dir)
        facts = facts or ModelFacts.load(model_dir)
        self.scheduler = Scheduler(limits or Limits(max_running=4, max_queued=4))
        self.groups: list[MemoryGroup] = []
        self.exits: list[ExitCode] = []
        self.cannot_listen = False
        self.hold = False
        reports = Reports()
        seeds = iter(range(1, 1000))
        admission = Admission("m", self.tokenizer, facts, lambda: next(seeds))
        self.engine = Engine(
            self.network, self.scheduler, admission, self.tokenizer, facts, reports.tell, start
        )
        self.epochs = Epochs(self.network, self._new_group, _shard, reports.tell, self.engine)
        self.engine.attach(self.epochs)
        self.network.listen(ENGINE, Identity(1, 0, 0, 1, "engine", "m"), self.engine)
        self.daemon = Peer()
        self.network.listen(DAEMON, Identity(9, 0, 0, 9, "daemon", "n"), self.daemon)
        link = DaemonLink(self.engine, self.epochs, reports, ENGINE, self.exits.append)
        self.me = Identity(9, 3, 7, 1, "engine", "m")
        self.network.connect(DAEMON, self.me, link)
        self.network.run()
        self._clients = 0

    @property
    def group(self) -> MemoryGroup:
        return self.groups[-1]

    def start_group(self, world: int = 1) -> MemoryGroup:
        """Have the daemon announce the next epoch, and let it load."""
        epoch = len(self.groups) + 1
        members = tuple(Member(rank, 10 + rank, 100 + epoch, "cpu") for rank in range(world))
        start = GroupStart(epoch, f"inproc://group-{epoch}", members, "file:///x", 5.0)
        self.order(start)
        return self.group

    def order(self, body: Body) -> None:
        """Have the daemon say something to the engine."""
        assert self.daemon.link is not None
        self.daemon.link.note(body)
        self.settle()

    def client(self) -> tuple[Peer, Identity]:
        """Connect a front end."""
        self._clients += 1
        peer, me = Peer(), Identity(5, 0, self._clients, 5, "front_end", f"f{self._clients}")
        self.network.connect(ENGINE, me, peer)
        self.settle()
        return peer, me

    def ask(
        self,
        peer: Peer,
        content: str = "hi",
        sampling: SamplingOptions = GREEDY,
        *,
        deadline_s: float = 1000.0,
        **more: Any,
    ) -> Answer:
        """Send a Generate and let happen what it causes."""
        messages = [{"role": "user", "content": content}]
        question = Generate("r", "m", messages, sampling)
        for name, value in more.items():
            question = Generate(**{**_fields(question), name: value})
        return self.ask_body(peer, question, deadline_s)

    def ask_body(self, peer: Peer, body: Body, deadline_s: float = 1000.0) -> Answer:
        """Send any question."""
        answer = Answer()
        assert peer.link is not None
        answer.call = peer.link.request(body, answer, deadline_s=deadline_s)
        self.settle()
        return answer

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        self.network.run()
        self.scheduler.check_integrity()

    def step(self) -> None:
        """Let the held step close, and what follows from it."""
        self.group.answer()
        self.settle()

    def right_tokens(
        self, count: int, content: str = "hi", sample: SampleParams | None = None
    ) -> list[int]:
        """The only tokens that may answer this request."""
        fed = list(self.tokenizer.encode_chat([{"role": "user", "content": content}]))
        start = len(fed)
        for index in range(count):
            params = None if sample is None else SampleParams(**{**_fields(sample), "index": index})
            fed.append(fake_token(fed, params))
        return fed[start:]

    def right_text(
        self, count: int, content: str = "hi", sample: SampleParams | None = None
    ) -> str:
        """Their text."""
        return self.tokenizer.decode(self.right_tokens(count, content, sample))

    def _new_group(
        self, start: GroupStart, *, request_kill: RequestKill, on_broken: OnBroken
    ) -> MemoryGroup:
        if self.cannot_listen:
            raise EndpointError("in use")
        group = MemoryGroup(self.network, start, request_kill=request_kill, on_broken=on_broken)
        group.hold = self.hold
        self.groups.append(group)
        return group


def _shard(start: GroupStart, member: Member) -> LoadShard:
    world = len(start.members)
    return LoadShard("dir", member.rank, world, member.device, "auto", start.rendezvous, 1)


def _fields(body: Body) -> dict[str, Any]:
    return {name: getattr(body, name) for name in body.__struct_fields__}
