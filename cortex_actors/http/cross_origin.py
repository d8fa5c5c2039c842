"""What pages of other origins may do: ask the client routes, if configured, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, final

import falcon

from cortex_actors.dialects.api_error import ApiError

if TYPE_CHECKING:
    from falcon.asgi import Request as AsyncRequest
    from falcon.asgi import Response as AsyncResponse

ANY: Final = "*"

_FOR_CLIENTS: Final = ("/v1/", "/health", "/ready", "/version", "/openapi.json")
"""Never the operators' routes: a page that an operator visits must not unload a model."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_EXPOSED: Final = (
    "request-id",
    "retry-after",
    "x-cortex-ignored-fields",
    "x-request-id",
    "x-should-retry",
)


@final
class CrossOrigin:
    """Falcon middleware. ``origins`` are those that may ask, or just ``*``.

    What changes or computes something is refused where a browser says for whom it asks and that is
    none of these: it sends such a request even if it would not let the page read the answer.
    Credentials that a browser keeps for us are never used; keys in headers may be sent.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)
        allowed = ANY if ANY in origins else origins
        # Falcon's types know it as middleware of its other kind of app, though it serves both.
        self._cors: falcon.CORSMiddleware[AsyncRequest, AsyncResponse] | None = (
            falcon.CORSMiddleware(allow_origins=allowed, expose_headers=_EXPOSED)
            if origins
            else None
        )

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Refuse what a page must not ask.

        Raises:
            ApiError: Its origin is not allowed.
        """
        del resp
        origin = req.get_header("Origin")
        if origin is None or req.method in _SAFE:
            return
        if req.path.startswith(_FOR_CLIENTS) and not self._origins.isdisjoint((origin, ANY)):
            return
        message = f"pages of {origin[:200]!r} may not ask this; cors_origins names those that may"
        raise ApiError(403, "origin_not_allowed", message)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Add the headers, and answer a preflight by the route's methods."""
        if self._cors is None or not req.path.startswith(_FOR_CLIENTS):
            return
        if ANY not in self._origins:
            resp.append_header("vary", "Origin")
        self._cors.process_response(req, resp, resource, req_succeeded)
