"""The endpoint under load and how it is asked; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, final
from urllib.parse import urlsplit

import msgspec

_PORTS = {"http": 80, "https": 443}
_PATH = "/v1/chat/completions"


@final
@dataclass(frozen=True, slots=True)
class Target:
    """An OpenAI endpoint and a model on it.

    ``body`` is merged over each request's body; a null there leaves the field out, for servers that
    refuse fields they do not know.
    """

    host: str
    port: int
    tls: bool
    path: str
    model: str
    api_key: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls, url: str, model: str, *, api_key: str = "", body: Mapping[str, Any] | None = None
    ) -> Self:
        """Return the target at a base address, with or without ``/v1``.

        Raises:
            ValueError: The address is not http or https, or has no host.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is not an address like http://127.0.0.1:8000")
        return cls(
            host=parts.hostname,
            port=parts.port or _PORTS[parts.scheme],
            tls=parts.scheme == "https",
            path=parts.path.rstrip("/").removesuffix("/v1") + _PATH,
            model=model,
            api_key=api_key,
            body=body or {},
        )

    def request(self, prompt: str, new_tokens: int) -> bytes:
        """Return the bytes of one streamed, greedy request for exactly ``new_tokens`` tokens."""
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": new_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
            **self.body,
        }
        body = msgspec.json.encode({name: v for name, v in fields.items() if v is not None})
        head = [
            f"POST {self.path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        if self.api_key:
            head.append(f"Authorization: Bearer {self.api_key}")
        return "\r\n".join([*head, "", ""]).encode() + body
