"""Generation events as the Responses API's objects; pure.

The whole object is the last of the stream's, so joining the stream gives it.
"""

from __future__ import annotations

from typing import Any, Final, final

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.dialects.framing import NAMED, Framing
from cortex_actors.dialects.responses.offered_tools import OfferedTools
from cortex_actors.dialects.responses.output import Output
from cortex_actors.dialects.responses.output_item import Events
from cortex_actors.dialects.responses.response_object import Echo, id_of, usage_of
from transports.failures import FailureCode
from transports.schemas.fleet import ModelState
from transports.schemas.generate import GenerateDone, TextDelta

_KNOWN_CODES: Final[dict[str, str]] = {
    FailureCode.OVERLOADED: "rate_limit_exceeded",
    FailureCode.INVALID_REQUEST: "invalid_prompt",
    # Not among the API's own, but what Codex looks for to make the conversation shorter.
    FailureCode.CONTEXT_LENGTH_EXCEEDED: "context_length_exceeded",
}


@final
class ResponsesEncoder:
    """One response's encoder; feed it every event in order."""

    def __init__(self, request_id: str, echo: Echo, tools: OfferedTools) -> None:
        self._id = id_of("resp", request_id)
        self._echo = echo
        self._model: str = echo.fields["model"]
        self._output = Output(request_id, tools)
        self._begun = False
        self._sequence = 0

    @property
    def framing(self) -> Framing:
        """Events that carry their type as name; the last one closes the stream."""
        return NAMED

    def chunks(self, event: GenerationEvent) -> list[dict[str, Any]]:
        """Return the stream's objects of one event."""
        match event:
            case Started():
                self._model = event.model
                return self._stamped(self._begin())
            case ModelState():
                return self._stamped(self._begin())
            case TextDelta():
                return self._stamped([*self._begin(), *self._output.feed(event)])
            case GenerateDone():
                return self._stamped([*self._begin(), *self._end(event)])
            case _:
                return []

    def failed(self, error: ApiError, request_id: str) -> list[dict[str, Any]]:
        """Return ``response.failed`` with what came before; no item is ended as if it were good."""
        code = _KNOWN_CODES.get(error.code, "server_error")
        told = {"code": code, "message": error.message, "type": error.type, "param": error.param}
        told |= {"reason": error.code, "request_id": request_id}
        begun = self._begin()
        closed = self._output.close("incomplete")
        return self._stamped([*begun, *closed, self._state("failed", error=told)])

    def keep_alive(self) -> list[dict[str, Any]]:
        """Return ``response.in_progress`` until there is output, which it would deny."""
        if self._output.items:
            return []
        return self._stamped(self._begin() or [self._state("in_progress")])

    def gather(self, event: GenerationEvent) -> dict[str, Any] | None:
        """Take the next event; return the whole response once it is the last."""
        chunks = self.chunks(event)
        if not isinstance(event, GenerateDone):
            return None
        whole: dict[str, Any] = chunks[-1]["response"]
        return whole

    def _begin(self) -> Events:
        if self._begun:
            return []
        self._begun = True
        begun = self._state("in_progress")
        return [{**begun, "type": "response.created"}, begun]

    def _end(self, done: GenerateDone) -> Events:
        truncated = done.finish_reason == "length"
        status = "incomplete" if truncated else "completed"
        more: dict[str, Any] = {"usage": usage_of(done)}
        if truncated:
            more["incomplete_details"] = {"reason": "max_output_tokens"}
        closed = self._output.close(status)
        return [*closed, self._state(status, **more)]

    def _state(self, status: str, **more: Any) -> dict[str, Any]:
        output = self._output.items
        response = self._echo.response(self._id, self._model, status, output=output, **more)
        return {"type": f"response.{status}", "response": response}

    def _stamped(self, events: Events) -> Events:
        stamped = [
            {**event, "sequence_number": self._sequence + n} for n, event in enumerate(events)
        ]
        self._sequence += len(events)
        return stamped
