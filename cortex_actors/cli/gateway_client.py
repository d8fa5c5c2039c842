"""What the command line asks of a running daemon over HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, final
from urllib.parse import quote

import httpx

from cortex_actors.cli.gateway_error import GatewayError

DEFAULT_URL = "http://127.0.0.1:31313"

_CONNECT_S = 5.0
_ANSWER_S = 30.0
_LOAD_S = 3600.0


@final
class GatewayClient:
    """One daemon's HTTP API. Not for several threads at once.

    ``CORTEX_API_KEY`` is the operator's key, where the daemon wants one.
    """

    def __init__(
        self,
        url: str,
        *,
        daemon: str = "cortexd",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._daemon = daemon
        self._http = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            transport=transport,
            trust_env=False,
            headers=_key_header(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def is_alive(self) -> bool:
        """Return whether ``/health`` answers 200 now."""
        try:
            return self._http.get("/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def status(self) -> dict[str, Any]:
        """Return ``/admin/status``: neurons, models and aliases as the gateway knows them.

        Raises:
            GatewayError: No answer, or a refusal.
        """
        return self._json(self._send("GET", "/admin/status"))

    def models(self) -> dict[str, Any]:
        """Return ``/v1/models`` as it comes.

        Raises:
            GatewayError: No answer, or a refusal.
        """
        return self._json(self._send("GET", "/v1/models"))

    def neuron_status(self) -> dict[str, Any]:
        """Return what ``status`` would, of a neuron, which has no ``/admin/status``.

        Raises:
            GatewayError: No answer, a refusal, or it is no neuron.
        """
        neuron = self._json(self._send("GET", "/discovery"))
        ready = self._json(self._send("GET", "/ready", refusal=httpx.codes.SERVICE_UNAVAILABLE))
        return {
            "service": "neurond",
            "version": neuron.get("version"),
            "uptime_s": neuron.get("uptime_s", 0),
            **ready,
            "neurons": [neuron] if neuron else [],
        }

    def actors(self, neuron: str = "") -> list[dict[str, Any]]:
        """Return ``/debug/actors``: every actor of the daemon, or of one of its neurons.

        Raises:
            GatewayError: No answer, or a refusal.
        """
        path = f"/debug/actors?neuron={quote(neuron, safe='')}" if neuron else "/debug/actors"
        rows: list[dict[str, Any]] = self._json(self._send("GET", path))["actors"]
        return rows

    def explain(self, request_id: str) -> dict[str, Any]:
        """Return ``/admin/requests/{id}``: what became of a request.

        Raises:
            GatewayError: No answer, or nothing is known of it.
        """
        return self._json(self._send("GET", f"/admin/requests/{quote(request_id, safe='')}"))

    def chaos(self, fault: dict[str, Any]) -> dict[str, Any]:
        """Arm one fault of ``neuron_runtime.faults`` in a rank; neurons only.

        Raises:
            GatewayError: No answer, or chaos is off, or there is no such model.
        """
        return self._json(self._send("POST", "/chaos", fault))

    def load(self, model: str) -> dict[str, Any]:
        """Load a model; returns when it is ready.

        Raises:
            GatewayError: No answer, or the load failed.
        """
        return self._json(self._send("POST", "/admin/load", {"model": model}, _LOAD_S))

    def unload(self, model: str) -> dict[str, Any]:
        """Unload a model; returns when its processes are gone.

        Raises:
            GatewayError: No answer, or the unload failed.
        """
        return self._json(self._send("POST", "/admin/unload", {"model": model}, _LOAD_S))

    def plan(self, model: str) -> dict[str, Any]:
        """Return where a model would go now, and what that would take.

        Raises:
            GatewayError: No answer, or there is no such model.
        """
        return self._json(self._send("POST", "/admin/plan", {"model": model}))

    def pin(self, model: str, *, pinned: bool) -> dict[str, Any]:
        """Pin a model, or let it go again.

        Raises:
            GatewayError: No answer, or there is no such model.
        """
        return self._json(self._send("POST", "/admin/pin", {"model": model, "pinned": pinned}))

    def reload(self) -> dict[str, Any]:
        """Have the catalogue read again; returns what changed.

        Raises:
            GatewayError: No answer, or the catalogue has mistakes, which the text lists.
        """
        return self._json(self._send("POST", "/admin/reload"))

    def stream_chat(self, model: str, question: str, max_tokens: int) -> Iterator[str]:
        """Yield a chat answer piece by piece; closing the iterator hangs up.

        Raises:
            GatewayError: No answer, a refusal, or a stream that ends with an error.
        """
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
        }
        timeout = httpx.Timeout(_LOAD_S, connect=_CONNECT_S)
        request = ("POST", "/v1/chat/completions")
        try:
            with self._http.stream(*request, json=body, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise self._refusal(response)
                yield from _deltas(response.iter_lines())
        except httpx.TransportError as error:
            raise self._silence(error) from error

    def _send(
        self,
        method: str,
        path: str,
        body: object = None,
        timeout_s: float = _ANSWER_S,
        refusal: int | None = None,
    ) -> httpx.Response:
        """Ask; ``refusal`` is a status that is an answer too."""
        timeout = httpx.Timeout(timeout_s, connect=_CONNECT_S)
        try:
            response = self._http.request(method, path, json=body, timeout=timeout)
        except httpx.TransportError as error:
            raise self._silence(error) from error
        if response.is_error and response.status_code != refusal:
            raise self._refusal(response)
        return response

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError as error:
            raise GatewayError(f"{self.url} answered something that is not JSON") from error
        if not isinstance(answer, dict):
            raise GatewayError(f"{self.url} is not a cortex daemon")
        return answer

    def _silence(self, error: httpx.TransportError) -> GatewayError:
        if isinstance(error, httpx.ConnectError):
            hint = f"start it with 'bin/{self._daemon} serve', or name another address with --url"
            return GatewayError(f"nothing answers at {self.url}; {hint}")
        return GatewayError(f"{self.url} did not answer: {error or type(error).__name__}")

    def _refusal(self, response: httpx.Response) -> GatewayError:
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = response.reason_phrase
        if response.status_code == httpx.codes.UNAUTHORIZED:
            message = f"{message} (this command takes the key from CORTEX_API_KEY)"
        text = f"{self.url} answered {response.status_code}: {message}"
        return GatewayError(text, response.status_code)


def _key_header() -> dict[str, str]:
    key = os.environ.get("CORTEX_API_KEY", "")
    if not key.isascii():
        raise GatewayError("CORTEX_API_KEY is no API key: it has characters that none has")
    return {"authorization": f"Bearer {key}"} if key else {}


def _deltas(lines: Iterator[str]) -> Iterator[str]:
    """Yield the visible text of an OpenAI chat stream."""
    for line in lines:
        data = line.removeprefix("data: ")
        if data in {line, "[DONE]"}:
            continue
        event = json.loads(data)
        if "error" in event:
            raise GatewayError(f"the stream failed: {event['error'].get('message', data)}")
        for choice in event.get("choices", ()):
            text = choice.get("delta", {}).get("content")
            if text:
                yield text
