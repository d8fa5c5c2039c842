"""A backend that plays back what a test wrote down."""

from __future__ import annotations

from collections.abc import Sequence

from cortex_actors.dialects.events import GenerationEvent, Question, Started
from cortex_actors.http.backend import BackendError, GenerationTimes
from cortex_actors.http.event_queue import EventQueue
from transports.schemas.body import Body
from transports.schemas.fleet import DeviceState, ModelState, NeuronState, ServiceState
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure

MODEL = "tiny"

HELLO: tuple[GenerationEvent, ...] = (
    Started(MODEL, "local"),
    TextDelta("Hel", 0, (1,)),
    TextDelta("lo", 1, (2,)),
    GenerateDone("stop", prompt_tokens=5, completion_tokens=2),
)


class ScriptedGeneration:
    """Has all of its events ready at once; counts how often it was closed."""

    def __init__(self, events: Sequence[GenerationEvent], *, streamed: bool = True) -> None:
        self.queue = EventQueue(streamed=streamed)
        self.closed = 0
        for event in events:
            self.queue.put(event)
            self.queue.wake()

    def fileno(self) -> int:
        return self.queue.fileno()

    def take(self) -> tuple[GenerationEvent, ...]:
        return self.queue.take()

    @property
    def times(self) -> GenerationTimes:
        return GenerationTimes(lease_s=0.25, first_token_s=0.5)

    def close(self) -> None:
        self.closed += 1
        self.queue.close()


class ScriptedBackend:
    """Answers every generation with ``events`` and every question with ``answers[type]``."""

    def __init__(self, events: Sequence[GenerationEvent] = HELLO) -> None:
        self.events = events
        self.service: ServiceState | None = service_state()
        self.connected = True
        self.answers: dict[type[Body], Body] = {}
        self.refusal: Failure | None = None
        self.questions: list[Body] = []
        self.responses: list[tuple[str, str]] = []
        self.generations: list[ScriptedGeneration] = []

    def generate(self, question: Question, *, streamed: bool = True) -> ScriptedGeneration:
        self.questions.append(question)
        if self.refusal is not None:
            raise BackendError(self.refusal)
        generation = ScriptedGeneration(self.events, streamed=streamed)
        self.generations.append(generation)
        return generation

    def count_response(self, route: str, status: str) -> None:
        self.responses.append((route, status))

    def ask(self, question: Body, deadline_s: float) -> Body:
        self.questions.append(question)
        answer = self.answers[type(question)]
        if isinstance(answer, Failure):
            raise BackendError(answer)
        return answer


def service_state(*, ready: bool = True, reason: str = "") -> ServiceState:
    model = ModelState(
        MODEL, "ready", neuron="local", devices=("cpu:0",), context_length=2048, created=7
    )
    cold = ModelState("org/cold", "failed", error="the file is gone")
    device = DeviceState("cpu:0", "cpu", "A CPU", 1000, 500)
    neuron = NeuronState("local", 1, "0.1.0", "host", 12.0, (device,), (model, cold))
    return ServiceState(
        "gateway",
        "0.1.0",
        ready,
        reason,
        12.0,
        neurons=(neuron,),
        models=(model, cold),
        aliases={"small": MODEL},
    )
