"""The server under test, asked over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, final

import httpx
import msgspec

from cortex_actors.cli.conformance.event_reader import Event, EventReader

Body = Mapping[str, Any]

DEFAULT_CONTEXT = 32_768
_CONTEXT_FIELDS = ("context_length", "max_model_len", "max_context_length", "n_ctx")


class NoAnswer(Exception):
    """The server could not be asked, or did not answer as HTTP has it; says why."""


@final
@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return its JSON.

        Raises:
            NoAnswer: It is not JSON.
        """
        try:
            return msgspec.json.decode(self.content)
        except msgspec.DecodeError as error:
            raise NoAnswer(f"HTTP {self.status} with no JSON: {self.content[:60]!r}") from error


@final
@dataclass(frozen=True, slots=True)
class StreamReply:
    """A response that was to be a stream; ``content`` is the body of one that is none."""

    status: int
    headers: Mapping[str, str]
    events: tuple[Event, ...]
    content: bytes = b""


@final
class Server:
    """One server and the model to ask it for. For one thread, except ``stream``."""

    def __init__(self, url: str, model: str, api_key: str = "", timeout_s: float = 60.0) -> None:
        key = api_key or "none"
        self._http = httpx.Client(
            base_url=url.rstrip("/").removesuffix("/v1"),
            headers={
                "authorization": f"Bearer {key}",
                "x-api-key": key,
            },
            timeout=timeout_s,
            # A kept connection may be closed just when it is used again.
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        )
        self.model = model
        self.context = DEFAULT_CONTEXT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def find_model(self) -> None:
        """Take the first model that is listed if none was named, and its context length.

        Raises:
            NoAnswer: The server is not there, or no model was named and it lists none.
        """
        reply = self.get("/v1/models")
        rows: list[dict[str, Any]] = reply.json().get("data", []) if reply.status == 200 else []
        if not self.model and not rows:
            raise NoAnswer("it lists no model; name one with --model")
        self.model = self.model or str(rows[0].get("id"))
        facts: dict[str, Any] = {}
        for row in rows:
            if row.get("id") == self.model:
                facts = {**row, **(row.get("meta") or {})}
        known = (facts.get(name) for name in _CONTEXT_FIELDS)
        self.context = next((each for each in known if isinstance(each, int) and each > 0), 0)
        self.context = self.context or DEFAULT_CONTEXT

    def get(self, path: str) -> Reply:
        """GET.

        Raises:
            NoAnswer: See the class.
        """
        return self._whole("GET", path, b"")

    def post(self, path: str, body: Body | bytes) -> Reply:
        """POST ``body``, as JSON unless it is bytes.

        Raises:
            NoAnswer: See the class.
        """
        return self._whole("POST", path, _encoded(body))

    def stream(self, path: str, body: Body) -> StreamReply:
        """POST and read the stream to its end.

        Raises:
            NoAnswer: It broke off.
        """
        with self.streaming(path, body) as response:
            if not _is_stream(response):
                content = response.read()
                return StreamReply(response.status_code, response.headers, (), content)
            reader = EventReader()
            lines = (reader.line(line) for line in response.iter_lines())
            events = tuple(event for event in lines if event is not None)
        return StreamReply(response.status_code, response.headers, events)

    @contextmanager
    def streaming(self, path: str, body: Body) -> Iterator[httpx.Response]:
        """POST and leave the reading to the caller; the connection is closed at the end.

        Raises:
            NoAnswer: See the class.
        """
        try:
            with self._http.stream(
                "POST", path, content=_encoded(body), headers=_headers(path)
            ) as response:
                yield response
        except httpx.HTTPError as error:
            raise _no_answer(path, error) from error

    def _whole(self, method: str, path: str, content: bytes) -> Reply:
        try:
            response = self._http.request(method, path, content=content, headers=_headers(path))
        except httpx.HTTPError as error:
            raise _no_answer(path, error) from error
        return Reply(response.status_code, response.headers, response.content)


_JSON = {"content-type": "application/json"}


def _headers(path: str) -> dict[str, str]:
    # A server may tell by the version whose objects it is asked for.
    version = {"anthropic-version": "2023-06-01"} if path.startswith("/v1/messages") else {}
    return {**_JSON, **version}


def _encoded(body: Body | bytes) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)


def _is_stream(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).startswith("text/event-stream")


def _no_answer(path: str, error: httpx.HTTPError) -> NoAnswer:
    return NoAnswer(f"{path}: {type(error).__name__} {error}".rstrip())
