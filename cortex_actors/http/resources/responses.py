"""/v1/responses and what is stored of them."""

from __future__ import annotations

from typing import Any, Final, final

import falcon
import msgspec

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.dialects.responses.responses_request import ResponsesRequest
from cortex_actors.http.backend import Backend
from cortex_actors.http.ignored_fields import tell_ignored
from cortex_actors.http.page_limit import page_limit
from cortex_actors.http.recorded_generation import begin
from cortex_actors.http.request_body import read_json
from cortex_actors.http.request_record import principal_of
from cortex_actors.http.resources.generated_response import created_now, stream, unique_id, whole
from cortex_actors.http.response_store import ResponseStore, StoreError
from cortex_actors.http.stored_response import StoredResponse
from cortex_actors.http.storing_encoder import StoringEncoder
from transports.clock import Clock, MonotonicClock

_MAX_LIMIT: Final = 100
_DEFAULT_LIMIT: Final = 20


@final
class Responses:
    """Streamed or whole; a client that leaves cancels its generation either way."""

    def __init__(
        self,
        backend: Backend,
        store: ResponseStore | None,
        body_limit: int,
        clock: Clock | None = None,
    ) -> None:
        self._backend = backend
        self._store = store
        self._body_limit = body_limit
        self._clock = clock or MonotonicClock()

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Serve one request."""
        asked = ResponsesRequest.parse(read_json(req, self._body_limit))
        tell_ignored(resp, asked)
        if asked.previous_response_id is not None:
            asked.after(self._history(asked.previous_response_id, principal_of(req)))
        id_ = unique_id(req)
        encoder: GenerationEncoder = asked.encoder(id_, created_now())
        if self._store is not None and asked.stored:
            encoder = StoringEncoder(encoder, self._store, asked.items, principal_of(req))
        generation = begin(
            req,
            self._backend,
            asked.to_generate(id_),
            param_of=asked.param_of,
            streamed=asked.streamed,
        )
        if asked.streamed:
            stream(req, resp, generation, encoder, self._clock)
        else:
            whole(req, resp, generation, encoder)

    def _history(self, previous: str, owner: str) -> list[dict[str, Any]]:
        try:
            chain = None if self._store is None else self._store.chain(previous, owner)
        except StoreError as ex:
            raise _unusable() from ex
        if chain is None:
            message = f"Previous response with id {previous!r} not found."
            raise ApiError.invalid(message, "previous_response_id", "previous_response_not_found")
        return [item for stored in chain for item in stored.items]


@final
class StoredResponses:
    """One stored response: read, or forgotten."""

    def __init__(self, store: ResponseStore | None) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response, response_id: str) -> None:
        """Return the object as its client got it."""
        if req.get_param_as_bool("stream"):
            message = "stream: only a response in the background can be streamed again"
            raise ApiError.invalid(message, "stream", "unsupported_parameter")
        _answer(resp, _found(req, self._store, response_id).response)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, response_id: str) -> None:
        """Forget it."""
        _found(req, self._store, response_id)
        try:
            if self._store is not None:
                self._store.delete(response_id, principal_of(req))
        except StoreError as ex:
            raise _unusable() from ex
        _answer(resp, {"id": response_id, "object": "response", "deleted": True})


@final
class InputItems:
    """What a stored response's request brought, in pages."""

    def __init__(self, store: ResponseStore | None) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response, response_id: str) -> None:
        """Return one page, latest first unless ``order`` is asc."""
        items = _found(req, self._store, response_id).input
        order = req.get_param("order") or "desc"
        if order not in {"asc", "desc"}:
            raise ApiError.invalid("order: must be asc or desc", "order", "invalid_value")
        ordered = items if order == "asc" else items[::-1]
        after = req.get_param("after")
        if after is not None:
            ids = [item["id"] for item in ordered]
            if after not in ids:
                raise ApiError.invalid(
                    f"after: there is no item {after!r}", "after", "invalid_value"
                )
            ordered = ordered[ids.index(after) + 1 :]
        page = ordered[: page_limit(req, _DEFAULT_LIMIT, _MAX_LIMIT)]
        _answer(
            resp,
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": len(page) < len(ordered),
            },
        )


@final
class CancelResponse:
    """Only responses in the background can be cancelled, and there are none."""

    def __init__(self, store: ResponseStore | None) -> None:
        self._store = store

    def on_post(self, req: falcon.Request, _resp: falcon.Response, response_id: str) -> None:
        """Say so."""
        _found(req, self._store, response_id)
        raise ApiError.invalid("Cannot cancel a synchronous response.", None)


def _found(req: falcon.Request, store: ResponseStore | None, id_: str) -> StoredResponse:
    try:
        stored = None if store is None else store.get(id_, principal_of(req))
    except StoreError as ex:
        raise _unusable() from ex
    if stored is None:
        message = f"Response with id {id_!r} not found."
        raise ApiError(404, "not_found", message, param="response_id")
    return stored


def _unusable() -> ApiError:
    message = "the stored responses cannot be read now; send the whole conversation as input"
    return ApiError(503, "response_store_unavailable", message, type="api_error")


def _answer(resp: falcon.Response, body: dict[str, Any]) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(body)
