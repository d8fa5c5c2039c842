"""Who asks, by the API key that a request carries, and whether that opens its route."""

from __future__ import annotations

from typing import Final, final

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
            ApiError: 401 or 403; this route needs a key, or another one.
        """
        del resp
        secret = _secret(req)
        owner = None if secret is None else self._keys.owner(secret)
        record: RequestRecord = req.env[RECORD]
        record.principal = "" if owner is None else owner.name
        # A preflight carries no key, and says nothing but what pages may ask.
        if self._required and req.path not in _OPEN and req.method != "OPTIONS":
            _check(req, secret, owner)


def _check(req: falcon.Request, secret: str | None, owner: KeyOwner | None) -> None:
    if secret is None:
        raise ApiError(401, "invalid_api_key", f"no API key was given; send it as {_WAYS}")
    if owner is None:
        raise ApiError(401, "invalid_api_key", "this API key is not known (any more)")
    if not owner.operator and not req.path.startswith(_FOR_CLIENTS):
        message = f"the key of '{owner.name}' is no operator's, and {req.path[:200]} needs one"
        raise ApiError(403, "operator_key_required", message)


def _secret(req: falcon.Request) -> str | None:
    """Return the key, wherever a client of either API puts it."""
    scheme, _, token = (req.get_header("Authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return req.get_header("x-api-key") or None
