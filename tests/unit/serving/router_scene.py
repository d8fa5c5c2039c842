"""A Router for tests, with all that it talks to."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from cortex_actors.serving.abilities import GENERATE, mismatch
from cortex_actors.serving.messages import (
    EnsureLoaded,
    FleetChanged,
    LeaseAsked,
)
from cortex_actors.serving.request_metrics import RequestMetrics
from cortex_actors.serving.router import Router
from cortex_actors.serving.state_board import StateBoard
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import (
    Audience,
    FakeLink,
    FakeRequest,
    Recorder,
    neuron_state,
    settle,
)
from transports.clock import ManualClock
from transports.schemas.fleet import (
    LeaseRequest,
    ModelState,
    NeuronState,
)
from transports.schemas.link import Failure


class Scene:
    """A router, whom it tells, and what it sees of the fleet."""

    def __init__(self, start: Start) -> None:
        self.clock = ManualClock(100.0)
        self.board: StateBoard[tuple[NeuronState, ...]] = StateBoard(())
        self.metrics = CollectorRegistry()
        self.loader = Audience(start(Recorder, name="loader"))
        names = {"m": ("m",), "alias": ("m",), "other": ("other",), "chain": ("m", "other")}
        names |= {"vectors": ("vectors",), "mixed": ("vectors", "m")}
        request_metrics = RequestMetrics(self.metrics)
        self.router = start(
            Router,
            names,
            self.loader.ref,
            request_metrics,
            self.board.read,
            {"n1": "key of n1"},
            self.clock,
            self._unfit,
        )
        self.embeds = {"vectors"}
        """Models that are known to make embeddings alone."""

    def _unfit(self, model: str, task: str) -> Failure | None:
        return mismatch(model, task, ("embeddings",) if model in self.embeds else ())

    def show(self, *models: ModelState) -> None:
        self.board.write((neuron_state("n1", *models),))
        self.router.notify(FleetChanged())

    def ask(
        self,
        model: str = "m",
        link: FakeLink | None = None,
        deadline: float | None = None,
        task: str = GENERATE,
        principal: str = "",
    ) -> FakeRequest:
        wanted = LeaseRequest("id", model, principal, task=task)
        request = FakeRequest(wanted, link, deadline)
        self.router.tell(LeaseAsked(request, wanted))
        return request

    def park(
        self, model: str = "m", deadline: float | None = None, principal: str = ""
    ) -> FakeRequest:
        request = self.ask(model, deadline=deadline, principal=principal)
        assert self.loader.next(EnsureLoaded).model == model
        return request

    def counted(self, outcome: str) -> float | None:
        labels = {"gen_ai_request_model": "m", "neuron": "n1", "outcome": outcome}
        return self.metrics.get_sample_value("cortex_requests_total", labels)

    @property
    def summary(self) -> str:
        settle(self.router)
        return self.router.summary()
