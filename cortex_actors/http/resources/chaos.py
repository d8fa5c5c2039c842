"""POST /chaos: make a rank misbehave, where the operator has switched that on."""

from __future__ import annotations

from typing import Any, Final, final

import falcon
import msgspec

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.http.backend import Backend
from cortex_actors.http.command_answers import ArmedFault
from cortex_actors.http.request_body import read_json
from cortex_actors.http.resources.daemon_question import ask
from cortex_actors.http.resources.snapshot import answer_json
from neuron_runtime.faults import UnknownFault, checked
from transports.schemas.group import FaultArmed, InjectFault

DEADLINE_S: Final = 5.0


@final
class Chaos:
    """Arms one fault in one rank of a loaded model."""

    def __init__(self, backend: Backend, body_limit: int) -> None:
        self._backend = backend
        self._body_limit = body_limit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Arm ``{"model", "fault", "phase", "rank", "after", "times", "seconds"}``."""
        fault = _fault(dict(read_json(req, self._body_limit)))
        armed = ask(self._backend, fault, FaultArmed, DEADLINE_S)
        answer_json(resp, ArmedFault("armed", armed.model, armed.rank))


def _fault(body: dict[str, Any]) -> InjectFault:
    try:
        fault = msgspec.convert({"t": "InjectFault", **body}, InjectFault)
        checked(fault)
    except (msgspec.ValidationError, UnknownFault) as ex:
        raise ApiError.invalid(str(ex), None) from ex
    return fault
