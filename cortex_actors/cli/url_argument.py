"""The address of a daemon or server, as an argument of a command."""

from __future__ import annotations

import argparse

import httpx


def http_url(text: str) -> str:
    """Return ``text`` if a request can go there.

    Raises:
        ArgumentTypeError: It is no HTTP address.
    """
    example = "write it as http://127.0.0.1:31313"
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no address ({error}); {example}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"'{text}' is no address; {example}")
    return text
