"""Telling a client which fields of its request had no effect."""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Sequence

import falcon

IGNORED_FIELDS = "x-cortex-ignored-fields"
MAX_NAMED = 32
"""So many names fit into what clients take for a header."""

_LOG = logging.getLogger("cortex.http")


def tell_ignored(resp: falcon.Response, ignored: Sequence[str]) -> None:
    """Name the fields in a header of the response, where the log level is ``debug``.

    Names are percent-encoded: a client may send any text as one.
    """
    if not ignored or not _LOG.isEnabledFor(logging.DEBUG):
        return
    named = [urllib.parse.quote(name)[:64] for name in ignored[:MAX_NAMED]]
    resp.set_header(IGNORED_FIELDS, ", ".join(named))
