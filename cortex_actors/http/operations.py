"""Every route and verb of both daemons, with what goes in and comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from cortex_actors.dialects.anthropic import answers as anthropic
from cortex_actors.dialects.anthropic.messages_request import CountRequest, MessagesRequest
from cortex_actors.dialects.openai import answers as openai
from cortex_actors.dialects.openai.chat_request import ChatRequest
from cortex_actors.dialects.openai.completion_request import CompletionRequest
from cortex_actors.dialects.openai.embedding_request import EmbeddingRequest
from cortex_actors.dialects.responses import answers as responses
from cortex_actors.dialects.responses.responses_request import ResponsesRequest
from cortex_actors.http import answers as own
from cortex_actors.http import command_answers as commands
from cortex_actors.http import fleet_answers as fleet
from cortex_actors.http import inspection_answers as inspection
from cortex_actors.http.api_document import ApiDocument

Json = dict[str, Any]

JSON: Final = "application/json"
TEXT: Final = "text/plain"


@dataclass(frozen=True, slots=True)
class Operation:
    """One route and verb.

    ``answer`` is the type of a good answer's body if that is JSON, ``anthropic`` the one that
    Anthropic's clients get instead where they get another, ``event`` that of a stream's events if
    there can be one. ``statuses`` are those of success, ``parameters`` those of the query.
    ``command`` is the schema of a body that is no API's.
    """

    path: str
    verb: str
    summary: str
    answer: Any = None
    body: type[BaseModel] | None = None
    event: Any = None
    anthropic: Any = None
    statuses: tuple[int, ...] = (200,)
    parameters: tuple[str, ...] = ()
    command: Json | None = None
    content_type: str = JSON
    fails: bool = True


_STORED: Final = "/v1/responses/{response_id}"

CLIENT_OPERATIONS: Final = (
    Operation(
        "/v1/chat/completions",
        "post",
        "Answer a chat.",
        openai.ChatCompletion,
        ChatRequest,
        openai.ChatCompletionChunk,
    ),
    Operation(
        "/v1/completions",
        "post",
        "Continue a text.",
        openai.TextCompletion,
        CompletionRequest,
        openai.TextCompletion,
    ),
    Operation(
        "/v1/responses",
        "post",
        "Make a response.",
        responses.Response,
        ResponsesRequest,
        responses.ResponseEvent,
    ),
    Operation(_STORED, "get", "Return a stored response.", responses.Response),
    Operation(_STORED, "delete", "Forget a stored response.", responses.DeletedResponse),
    Operation(
        f"{_STORED}/input_items",
        "get",
        "List what it was asked.",
        responses.InputItemList,
        parameters=("limit", "order", "after"),
    ),
    Operation(
        f"{_STORED}/cancel",
        "post",
        "Refuse: only a response in the background can be cancelled, and there are none.",
        statuses=(),
    ),
    Operation(
        "/v1/embeddings",
        "post",
        "Turn texts into vectors.",
        openai.EmbeddingList,
        EmbeddingRequest,
    ),
    Operation(
        "/v1/messages",
        "post",
        "Answer a message (Anthropic).",
        anthropic.Message,
        MessagesRequest,
        anthropic.MessageStreamEvent,
    ),
    Operation(
        "/v1/messages/count_tokens",
        "post",
        "Count a prompt's tokens (Anthropic).",
        anthropic.TokenCount,
        CountRequest,
    ),
    Operation(
        "/v1/models",
        "get",
        "List the models, loaded or not.",
        own.ModelPage,
        anthropic=anthropic.AnthropicModelPage,
    ),
    Operation(
        "/v1/models/{model_id}",
        "get",
        "Return one model or alias.",
        own.Model,
        anthropic=anthropic.AnthropicModel,
    ),
    Operation("/", "get", "Say what this is.", own.Welcome, fails=False),
    Operation("/", "head", "Say that something is here.", content_type="", fails=False),
    Operation("/health", "get", "Say that the server lives.", own.HealthVerdict, fails=False),
    Operation("/health", "head", "Say that the server lives.", content_type="", fails=False),
    Operation(
        "/ready",
        "get",
        "Say whether it serves, or why not.",
        own.Readiness,
        statuses=(200, 503),
        fails=False,
    ),
    Operation(
        "/ready",
        "head",
        "Say whether it serves.",
        content_type="",
        statuses=(200, 503),
        fails=False,
    ),
    Operation("/version", "get", "Return the version.", own.BuildVersion, fails=False),
    Operation("/openapi.json", "get", "Return this document.", ApiDocument, fails=False),
)
"""What both daemons offer to clients."""

_MODEL: Final[Json] = {
    "type": "object",
    "required": ["model"],
    "properties": {"model": {"type": "string", "minLength": 1}},
}
_PIN: Final[Json] = {
    **_MODEL,
    "properties": {**_MODEL["properties"], "pinned": {"type": "boolean", "default": True}},
}
_FAULT: Final[Json] = {"type": "object", "required": ["fault", "phase"]}

GATEWAY_OPERATIONS: Final = (
    *CLIENT_OPERATIONS,
    Operation(
        "/debug/actors",
        "get",
        "List the actors, or those of one of its neurons.",
        inspection.ActorList,
        parameters=("neuron",),
    ),
    Operation("/admin/load", "post", "Load a model.", commands.LoadedModel, command=_MODEL),
    Operation("/admin/unload", "post", "Unload a model.", commands.UnloadedModel, command=_MODEL),
    Operation(
        "/admin/plan",
        "post",
        "Say where a model would be loaded.",
        commands.PlannedLoad,
        command=_MODEL,
    ),
    Operation(
        "/admin/pin", "post", "Pin a model, or no longer.", commands.PinnedModel, command=_PIN
    ),
    Operation("/admin/reload", "post", "Read the catalogue again.", commands.CatalogueChanges),
    Operation("/admin/status", "get", "Return the state of the fleet.", fleet.FleetStatus),
    Operation(
        "/admin/requests/{request_id}",
        "get",
        "Say what became of a request.",
        inspection.RequestTrail,
    ),
)
NEURON_OPERATIONS: Final = (
    *CLIENT_OPERATIONS,
    Operation("/debug/actors", "get", "List the actors.", inspection.ActorList),
    Operation("/discovery", "get", "Return this host and its devices.", fleet.Neuron),
    Operation("/models", "get", "List the models of this host.", fleet.NeuronModels),
    Operation("/models/load", "post", "Load a model.", commands.LoadedModel, command=_MODEL),
    Operation("/models/unload", "post", "Unload a model.", commands.UnloadedModel, command=_MODEL),
    Operation(
        "/chaos",
        "post",
        "Have a rank misbehave, where that is on.",
        commands.ArmedFault,
        command=_FAULT,
    ),
    Operation("/metrics", "get", "Return figures for Prometheus.", content_type=TEXT),
)
