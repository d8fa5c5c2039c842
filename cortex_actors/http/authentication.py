"""Who asks, by the API key that a request carries, and whether that opens its route."""

from __future__ import annotations

from typing import Any, Final, final

import falcon

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.http.key_ring import KeyOwner, KeyRing
from cortex_actors.http.request_record import RECORD, RequestRecord

_OPEN: Final = frozenset({"/", "/health", "/ready", "/version", "/openapi.json", "/metrics"})
"""What machines look at, or whoever wants to know what is here; nothing of any request is in it."""

_FOR_CLIENTS: Final = "/v1/"
_WAYS: Final = "'Authorization: Bearer KEY' or 'x-api-key: KEY'"


@final
class Authentication:
    """Falcon middleware: notes whose request it is, and refuses it if it must be somebody's.

    Where no key is ``required``, one that is unknown is as good as none: clients that insist on a
    key send any text. Then operators' routes are open too.
    """

    def __init__(self, keys: KeyRing, *, required: bool) -> None:
        self._keys = keys
        self._required = required

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Note who asks.

        Raises:
            ApiError: 401, this needs a key.
        """
        del resp
        secrets = _secrets(req)
        owner = next(filter(None, map(self._keys.owner, secrets)), None)
        req.context.key_owner = owner
        record: RequestRecord = req.env[RECORD]
        record.principal = "" if owner is None else owner.name
        # A preflight carries no key, and says nothing but what pages may ask.
        if self._required and owner is None and req.path not in _OPEN and req.method != "OPTIONS":
            unknown = "this API key is not known (any more)"
            missing = f"no API key was given; send it as {_WAYS}"
            raise ApiError(401, "invalid_api_key", unknown if secrets else missing)

    def process_resource(
        self, req: falcon.Request, resp: falcon.Response, resource: object, params: dict[str, Any]
    ) -> None:
        """See that a route which is no client's is asked by an operator.

        Raises:
            ApiError: 403, this needs another key.
        """
        del resp, resource, params
        owner: KeyOwner | None = req.context.key_owner
        route = req.uri_template or ""
        if not self._required or owner is None or owner.operator:
            return
        if route not in _OPEN and not route.startswith(_FOR_CLIENTS):
            message = f"the key of '{owner.name}' is no operator's, and {route} needs one"
            raise ApiError(403, "operator_key_required", message)


def _secrets(req: falcon.Request) -> list[str]:
    """Return the keys in a request, wherever a client of either API puts its own."""
    scheme, _, token = (req.get_header("Authorization") or "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return [secret for secret in (bearer, req.get_header("x-api-key")) if secret]
