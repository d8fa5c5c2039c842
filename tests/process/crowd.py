"""Many clients that ask a fleet at the same moment, and what each was told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, final

import httpx

from tests.soak.oracle import Question

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Told:
    """One HTTP answer. Status 0 is none: ``body`` says what came instead."""

    question: Question
    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def right(self) -> bool:
        """Whether it is the whole answer, and nobody else's."""
        if self.status != httpx.codes.OK:
            return False
        (choice,) = self.body["choices"]
        return bool(choice["message"]["content"] == self.question.answer())

    @property
    def refused(self) -> bool:
        """Whether it is a polite 429: says in OpenAI's envelope why, and when to come again."""
        if self.status != httpx.codes.TOO_MANY_REQUESTS:
            return False
        error = self.body["error"]
        named = (error["type"], error["code"]) == ("rate_limit_error", "overloaded")
        return named and self.retry_after_s >= 1

    @property
    def code(self) -> str:
        """Status and error code, or how the connection was lost."""
        return str(
            self.body.get("lost") or f"{self.status} {self.body.get('error', {}).get('code')}"
        )

    @property
    def retry_after_s(self) -> int:
        """In how many seconds it is asked to come again; 0 if it is not."""
        return int(self.headers.get("retry-after", "0"))


@final
class Client:
    """Asks one question after another over one connection, with ``key``. One thread."""

    def __init__(self, url: str, key: str = "") -> None:
        # There is no TLS here, and reading all certificates takes longer than a request.
        self._http = httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False, verify=False)
        if key:
            self._http.headers["authorization"] = f"Bearer {key}"

    def ask(self, question: Question) -> Told:
        """Return what came of it."""
        try:
            answer = self._http.post("/v1/chat/completions", json=question.body(stream=False))
        except httpx.TransportError as error:
            return Told(question, 0, {}, {"lost": repr(error)})
        return Told(question, answer.status_code, answer.headers, answer.json())

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()


@final
class Crowd:
    """So many clients, each with a connection of its own, that ask at the same moment."""

    def __init__(self, url: str, size: int, key: str = "") -> None:
        self._size = size
        self._start = threading.Barrier(size)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="crowd")
        self._clients = [Client(url, key) for _ in range(size)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.shutdown()
        for client in self._clients:
            client.close()

    def ask(self, name: str, tokens: int) -> list[Future[Told]]:
        """Have each ask once for an answer of so many tokens, all at the same moment."""
        questions = [Question(f"{name} {number}", tokens, None) for number in range(self._size)]
        return [
            self._threads.submit(self._ask, client, question)
            for client, question in zip(self._clients, questions, strict=True)
        ]

    def _ask(self, client: Client, question: Question) -> Told:
        self._start.wait(PATIENCE_S)
        return client.ask(question)
