"""What browsers let pages of other origins do: ask the client routes, if configured."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, final

import falcon

if TYPE_CHECKING:
    from falcon.asgi import Request as AsyncRequest
    from falcon.asgi import Response as AsyncResponse

ANY: Final = "*"

_FOR_CLIENTS: Final = ("/v1/", "/health", "/ready", "/version", "/openapi.json")
"""Never the operators' routes: a page that an operator visits must not unload a model."""

_EXPOSED: Final = (
    "request-id",
    "retry-after",
    "x-cortex-ignored-fields",
    "x-request-id",
    "x-should-retry",
)


@final
class CrossOrigin:
    """Falcon middleware. ``origins`` are those that may ask, or just ``*``; there is at least one.

    Credentials that a browser keeps for us are never used; keys in headers may be sent.
    """

    def __init__(self, origins: Collection[str]) -> None:
        allowed = ANY if ANY in origins else origins
        self._any = allowed == ANY
        # Falcon's types know it as middleware of its other kind of app, though it serves both.
        self._cors: falcon.CORSMiddleware[AsyncRequest, AsyncResponse] = falcon.CORSMiddleware(
            allow_origins=allowed, expose_headers=_EXPOSED
        )

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Add the headers, and answer a preflight by the route's methods."""
        if not req.path.startswith(_FOR_CLIENTS):
            return
        if not self._any:
            resp.append_header("vary", "Origin")
        self._cors.process_response(req, resp, resource, req_succeeded)
