"""Stand-ins for links, questions and actors; they record what happens to them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.errors import ExpectedError
from cortex_actors.kit.ref import ActorRef
from transports.encoded_body import EncodedBody
from transports.errors import LinkDown
from transports.link import Identity, LinkState, OnCallEvent
from transports.schemas.body import Body
from transports.schemas.fleet import DeviceState, ModelState, NeuronState
from transports.schemas.link import Failure

SOON_S = 5.0
T = TypeVar("T")


class FakeCall:
    """A call nobody answers by itself."""

    seq = 1

    def cancel(self, reason: str = "") -> None:
        raise AssertionError("nobody cancels here")


class FakeLink:
    """A link that goes nowhere."""

    def __init__(self, boot: int = 1, inc: int = 1) -> None:
        self.peer = Identity(boot, 0, inc, 99, "front_end", "front")
        self.state = LinkState.UP
        self.notes: list[Body] = []
        self.asked: list[tuple[Body, OnCallEvent]] = []
        self.closed: list[str] = []

    def request(
        self,
        body: Body | EncodedBody,
        on_event: OnCallEvent,
        *,
        deadline_s: float,
        trace: int = 0,
        raw: Sequence[bytes] = (),
    ) -> FakeCall:
        self._require_up()
        assert isinstance(body, Body)
        self.asked.append((body, on_event))
        return FakeCall()

    def note(self, body: Body, *, trace: int = 0, raw: Sequence[bytes] = ()) -> None:
        self._require_up()
        self.notes.append(body)

    def publish(self, pieces: Sequence[Any]) -> None:
        raise AssertionError("daemons publish no tokens")

    def close(self, reason: str, detail: str = "") -> None:
        self.state = LinkState.DOWN
        self.closed.append(reason)

    def _require_up(self) -> None:
        if self.state is LinkState.DOWN:
            raise LinkDown("the link is down")


class FakeRequest:
    """A question whose answers are kept; more than one is the test's business to notice."""

    seq = 1
    raw: tuple[bytes, ...] = ()
    trace = 0

    def __init__(
        self, body: Body, link: FakeLink | None = None, deadline: float | None = None
    ) -> None:
        self.body = body
        self.link = link or FakeLink()
        self.deadline = deadline
        self.answers: list[Body] = []
        self.progressed: list[Body] = []
        self._answered = threading.Event()
        self._on_cancel: Callable[[str], None] | None = None
        self._cancelled: str | None = None

    def on_cancel(self, callback: Callable[[str], None]) -> None:
        if self._cancelled is None:
            self._on_cancel = callback
        else:
            callback(self._cancelled)

    def cancel(self, reason: str = "client_gone") -> None:
        """Be the asker who has lost interest."""
        self._cancelled = reason
        if self._on_cancel is not None:
            self._on_cancel(reason)

    def progress(self, body: Body) -> None:
        self.progressed.append(body)

    def complete(self, body: Body, raw: Sequence[bytes] = ()) -> None:
        self.answers.append(body)
        self._answered.set()

    def fail(self, failure: Failure) -> None:
        self.complete(failure)

    def answer(self) -> Body:
        """Wait for the one answer."""
        assert self._answered.wait(SOON_S), f"{self.body} was not answered"
        (answer,) = self.answers
        return answer

    def failure(self) -> Failure:
        """Wait for the one answer, which is a refusal."""
        answer = self.answer()
        assert isinstance(answer, Failure), answer
        return answer


class Recorder(SupervisedActor):
    """Takes every message."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: queue.SimpleQueue[object] = queue.SimpleQueue()

    def receive(self, message: object) -> Any:
        if isinstance(message, Seen):
            return self.seen
        self.seen.put(message)
        return None


class Seen:
    """Asks a recorder for its queue."""


class Audience:
    """What one recorder has been told, in order."""

    def __init__(self, ref: ActorRef) -> None:
        self.ref = ref
        self._seen: queue.SimpleQueue[object] = ref.ask(Seen(), SOON_S)

    def next(self, kind: type[T]) -> T:
        """Wait for the next message of this type; others are passed over."""
        while True:
            message = self._seen.get(timeout=SOON_S)
            if isinstance(message, kind):
                return message

    def heard(self, kind: type[T]) -> list[T]:
        """Return all messages of this type that were told so far; takes the others out too."""
        settle(self.ref)
        messages = []
        while not self._seen.empty():
            messages.append(self._seen.get())
        return [message for message in messages if isinstance(message, kind)]


class _Barrier:
    """No actor handles it."""


def settle(*refs: ActorRef) -> None:
    """Wait until these actors have handled all that they were told before."""
    for ref in refs:
        with suppress(ExpectedError):
            ref.ask(_Barrier(), SOON_S)


def model_state(
    id_: str, state: str = "ready", neuron: str = "n1", capacity: int = 4, **more: Any
) -> ModelState:
    endpoint = "tcp://127.0.0.1:7" if state == "ready" else ""
    return ModelState(id_, state, neuron, endpoint, capacity=capacity, **more)


def neuron_state(
    name: str, *models: ModelState, state: str = "up", free_mb: Sequence[int] = (1000,)
) -> NeuronState:
    devices = tuple(
        DeviceState(f"cpu:{number}", "cpu", "A CPU", 2000, free)
        for number, free in enumerate(free_mb)
    )
    return NeuronState(name, 1, "0.1.0", "host", 1.0, devices, models, state)
