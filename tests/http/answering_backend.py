"""A backend that has an answer to whatever a client or an operator asks."""

from __future__ import annotations

from cortex_actors.dialects.events import Counted, Embedded, Question, Started
from tests.unit.http.doubles import HELLO, MODEL, ScriptedBackend, ScriptedGeneration
from transports.schemas import fleet, operations
from transports.schemas.generate import CountTokens, Embed
from transports.schemas.group import FaultArmed, InjectFault
from transports.schemas.text_gaps import TextGaps

_CHANGE = operations.FieldChange("m", "quant", "none", "int8")
_SETTLED = fleet.LeaseSettled(1, "completed", duration_s=9.0, gaps=TextGaps((1, 2), 0.5))
_VICTIM = operations.VictimPlan("old", 600, 1.5)
_DEVICE = operations.DevicePlan("cpu:0", 900, 100)
_ROOM = operations.NeuronPlan("n1", "evict", "", 1.5, victims=(_VICTIM,), devices=(_DEVICE,))


class AnsweringBackend(ScriptedBackend):
    """Answers each kind of question with its kind of answer, every part of which is there."""

    def __init__(self) -> None:
        super().__init__()
        row = fleet.ActorRow("router", "Router", "running", 0, 0, 5)
        step = fleet.TrailStep(0.1, "lease", "n1")
        self.answers = {
            fleet.QueryActors: fleet.ActorTable((row,)),
            fleet.LoadModelById: fleet.ModelLoaded(MODEL, 1.5),
            fleet.UnloadModel: fleet.ModelUnloaded(MODEL),
            fleet.QueryExplain: fleet.Explanation("r.1", MODEL, (step,), _SETTLED, 4.0),
            fleet.QueryMetrics: fleet.MetricsText("a 1\n", "text/plain"),
            operations.PlanLoad: operations.LoadPlan(MODEL, 800, "n1", (_ROOM,), ("n2",)),
            operations.PinModel: operations.ModelPinned(MODEL, pinned=True),
            operations.ReloadCatalogue: operations.CatalogueReloaded(
                ("new",), ("old",), (_CHANGE,), (_CHANGE,)
            ),
            InjectFault: FaultArmed(MODEL, 1),
        }

    def generate(self, question: Question, *, streamed: bool = True) -> ScriptedGeneration:
        started = Started(MODEL, "local")
        match question:
            case Embed(inputs=inputs):
                self.events = (started, Embedded(1, 3, bytes(4 * len(inputs))))
            case CountTokens():
                self.events = (started, Counted(3))
            case _:
                self.events = HELLO
        return super().generate(question, streamed=streamed)
