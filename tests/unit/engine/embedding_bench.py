"""A whole engine of a model for embeddings on an in-process network, its ranks in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import processors

from neuron_runtime.backends.fake import VECTOR_LENGTH, FakeBackend, fake_vector
from neuron_runtime.engine.embedding_admission import EmbeddingAdmission
from neuron_runtime.engine.embedding_engine import EmbeddingEngine
from neuron_runtime.engine.embedding_queue import EmbeddingLimits, EmbeddingQueue
from neuron_runtime.group_driver import OnClosed
from neuron_runtime.outcome import GroupFailure, Ok, Outcome, RankFailure, RequestFailure
from neuron_runtime.outcome import Member as OutcomeMember
from tests.unit.engine.tiny_model import END, START, make_tokenizer
from transports.inproc import InprocNetwork
from transports.link import (
    Call,
    CallEvent,
    Completed,
    Failed,
    Identity,
    IncomingRequest,
    Link,
)
from transports.schemas.body import Body
from transports.schemas.daemon import EngineLoad
from transports.schemas.generate import Embed, EmbedDone
from transports.schemas.group import EmbedStep, LoadShard, ShardLoaded
from transports.schemas.link import Failure

MODEL = "m"
CONTEXT = 32
VOCABULARY = 300
ENGINE = "inproc://engine"


def make_embedding_dir(path: Path, **config: Any) -> Path:
    """Write what an engine reads: inputs are framed, and the tokenizer's own limits are traps."""
    path.mkdir(parents=True, exist_ok=True)
    core = make_tokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|im_end|>",
        special_tokens=[("<|im_start|>", START), ("<|im_end|>", END)],
    )
    core.enable_truncation(5)
    core.enable_padding(length=8)
    core.save(str(path / "tokenizer.json"))
    facts = {
        "architectures": ["BertModel"],
        "max_position_embeddings": CONTEXT,
        "vocab_size": VOCABULARY,
        "hidden_size": VECTOR_LENGTH,
    }
    (path / "config.json").write_text(json.dumps(facts | config))
    return path


class EmbeddingRanks:
    """In place of ``Epochs``: answers at once, or, while ``hold`` is set, when told to."""

    def __init__(self, network: InprocNetwork) -> None:
        self.ready = False
        self.hold = False
        self.steps: list[EmbedStep] = []
        self.deadlines: list[float] = []
        self.refuse: Callable[[EmbedStep], bool] = lambda _: False
        self.refusal = "step_failed"
        self._network = network
        self._backend = FakeBackend(on_collective=lambda: None)
        self._backend.load(LoadShard("dir", 0, 1, "cpu", "auto", "", 1))
        self._open: tuple[EmbedStep, OnClosed] | None = None

    def execute(self, operation: Body, deadline_s: float, on_closed: OnClosed) -> None:
        assert self.ready
        assert self._open is None, "two operations are open"
        assert isinstance(operation, EmbedStep)
        self.steps.append(operation)
        self.deadlines.append(deadline_s)
        self._open = (operation, on_closed)
        if not self.hold:
            self._network.call_soon(self.answer)

    def answer(self) -> None:
        """Close the open step as the ranks would."""
        if self._open is not None:
            self.answer_with(self._outcome(self._open[0]))

    def answer_with(self, outcome: Outcome) -> None:
        """Close the open step with ``outcome``."""
        assert self._open is not None
        (_, on_closed), self._open = self._open, None
        on_closed(outcome)

    def die(self) -> None:
        """Lose rank 0."""
        self.ready = False
        failure = RankFailure(OutcomeMember(0, 1, 1), "worker_died", "died (SIGKILL)", died=True)
        if self._open is not None:
            self.answer_with(GroupFailure((failure,)))

    def _outcome(self, step: EmbedStep) -> Outcome:
        if self.refuse(step):
            return RequestFailure(self.refusal, "refused on purpose")
        done, rows = self._backend.embed(step)
        return Ok((done,), (rows,))


class Answer:
    """What one request has got."""

    def __init__(self) -> None:
        self.ends: list[CallEvent] = []
        self.call: Call | None = None

    def __call__(self, event: CallEvent) -> None:
        self.ends.append(event)

    @property
    def done(self) -> EmbedDone:
        (end,) = self.ends
        assert isinstance(end, Completed)
        assert isinstance(end.body, EmbedDone)
        return end.body

    @property
    def rows(self) -> bytes:
        (end,) = self.ends
        assert isinstance(end, Completed)
        return b"".join(end.raw)

    @property
    def failure(self) -> Failure:
        (end,) = self.ends
        assert isinstance(end, Failed)
        return end.failure


class _Peer:
    def __init__(self) -> None:
        self.link: Link | None = None

    def on_up(self, link: Link) -> None:
        self.link = link

    def on_request(self, request: IncomingRequest) -> None:
        raise AssertionError(request)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        raise AssertionError(body)

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        pass


class EmbeddingBench:
    """Everything of such an engine's process but the process."""

    def __init__(self, model_dir: Path, limits: EmbeddingLimits | None = None) -> None:
        self.network = InprocNetwork()
        self.queue = EmbeddingQueue(limits or EmbeddingLimits(max_running=2, max_queued=2))
        self.admission = EmbeddingAdmission.load(MODEL, model_dir)
        self.told: list[Body] = []
        self.engine = EmbeddingEngine(self.network, self.queue, self.admission, self.told.append)
        self.ranks = EmbeddingRanks(self.network)
        self.engine.attach(self.ranks)
        self.network.listen(ENGINE, Identity(1, 0, 0, 1, "engine", MODEL), self.engine)
        self._clients = 0

    @property
    def load(self) -> EngineLoad:
        """The latest report to the daemon."""
        load = self.told[-1]
        assert isinstance(load, EngineLoad)
        return load

    def start_group(self, context_length: int = 0) -> None:
        """Let the next epoch be ready."""
        self.ranks.ready = True
        self.engine.group_ready((ShardLoaded(0, 0, 0.0, context_length),))
        self.settle()

    def lose_group(self) -> None:
        """Let rank 0 die, as ``Epochs`` tells it."""
        self.ranks.die()
        self.engine.group_lost()
        self.settle()

    def client(self) -> Link:
        """Connect a front end."""
        self._clients += 1
        peer = _Peer()
        me = Identity(5, 0, self._clients, 5, "front_end", f"f{self._clients}")
        self.network.connect(ENGINE, me, peer)
        self.settle()
        assert peer.link is not None
        return peer.link

    def ask(
        self,
        link: Link,
        *inputs: str | tuple[int, ...],
        dimensions: int | None = None,
        deadline_s: float = 1000.0,
    ) -> Answer:
        """Send an Embed and let happen what it causes."""
        return self.ask_body(link, Embed("r", MODEL, inputs, dimensions), deadline_s)

    def ask_body(self, link: Link, body: Body, deadline_s: float = 1000.0) -> Answer:
        """Send any question."""
        answer = Answer()
        answer.call = link.request(body, answer, deadline_s=deadline_s)
        self.settle()
        return answer

    def step(self) -> None:
        """Let the held step close, and what follows from it."""
        self.ranks.answer()
        self.settle()

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        self.network.run()
        self.queue.check_integrity()


def text_tokens(text: str) -> tuple[int, ...]:
    """The only tokens that ``text`` may become."""
    return (START, *make_tokenizer().encode(text).ids, END)


def right_rows(*sequences: Sequence[int]) -> bytes:
    """The only vectors that may answer these tokens."""
    return b"".join(map(fake_vector, sequences))
