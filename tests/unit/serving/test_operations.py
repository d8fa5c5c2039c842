"""The Operations actor: what operators ask and command."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from cortex_actors.serving.messages import OperatorAsked
from cortex_actors.serving.operations import Commands, Operations
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import FakeRequest, settle
from transports.failures import FailureCode
from transports.link import IncomingRequest
from transports.schemas.body import Body
from transports.schemas.fleet import (
    ActorTable,
    LeaseRequest,
    LoadModelById,
    MetricsText,
    QueryActors,
    QueryMetrics,
    QueryState,
    ServiceState,
    UnloadModel,
)
from transports.schemas.group import InjectFault

STATE = ServiceState("cortexd", "0.1.0", ready=True, reason="", uptime_s=1.0)


class Scene:
    """An Operations actor; the commands that it passes on are kept."""

    def __init__(self, start: Start) -> None:
        metrics = CollectorRegistry()
        Gauge("cortex_answer", "The answer.", registry=metrics).set(42)
        Counter("cortex_questions", "The questions.", registry=metrics).inc()
        self.commands: list[tuple[str, str, IncomingRequest]] = []
        self.operations = start(
            Operations,
            metrics,
            lambda: ActorTable(()),
            lambda: STATE,
            Commands(
                load=lambda model, request: self.commands.append(("load", model, request)),
                unload=lambda model, request: self.commands.append(("unload", model, request)),
                inject_fault=lambda fault, request: self.commands.append(
                    ("inject", fault.model, request)
                ),
            ),
        )

    def ask(self, body: Body) -> FakeRequest:
        request = FakeRequest(body)
        self.operations.tell(OperatorAsked(request))
        settle(self.operations)
        return request


@pytest.fixture
def scene(start: Start) -> Scene:
    return Scene(start)


def test_questions_are_answered_from_what_is_known(scene: Scene) -> None:
    assert scene.ask(QueryState()).answer() == STATE
    assert scene.ask(QueryActors()).answer() == ActorTable(())
    metrics = scene.ask(QueryMetrics()).answer()
    assert isinstance(metrics, MetricsText)
    assert "cortex_answer 42.0" in metrics.text
    assert "cortex_questions_total 1.0" in metrics.text
    assert "_created" not in metrics.text
    assert metrics.content_type.startswith("text/plain")


def test_commands_are_passed_on_with_their_way_back(scene: Scene) -> None:
    load, unload = scene.ask(LoadModelById("m")), scene.ask(UnloadModel("m"))

    assert scene.commands == [("load", "m", load), ("unload", "m", unload)]
    assert (load.answers, unload.answers) == ([], [])


def test_anything_else_is_refused_by_name(scene: Scene) -> None:
    failure = scene.ask(LeaseRequest("id", "m")).failure()

    assert failure.code == FailureCode.INVALID_REQUEST
    assert "LeaseRequest" in failure.message


def test_a_fault_is_passed_on_only_where_the_daemon_has_ranks(scene: Scene) -> None:
    fault = InjectFault(fault="kill-rank", phase="before", model="m")
    scene.ask(fault)

    assert [(what, model) for what, model, _ in scene.commands] == [("inject", "m")]


def test_a_daemon_without_neurons_says_so(scene: Scene) -> None:
    failure = scene.ask(QueryActors("local")).failure()

    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, "neuron")
