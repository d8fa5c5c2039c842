"""A whole engine behind the HTTP routes, for tests of what it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from falcon import testing

from cortex_actors.http.app import create_gateway_app
from cortex_actors.http.response_store import ResponseStore
from tests.unit.http.engine_backend import EngineBackend

SHOWN = (
    "{% for message in messages %}{{ message | tojson }}\n{% endfor %}"
    "{% if tools %}tools {{ tools | tojson }}\n{% endif %}"
    "{% if add_generation_prompt %}answer{% endif %}"
)


class Served:
    """An engine behind the HTTP routes."""

    def __init__(self, model_dir: Path, store: ResponseStore) -> None:
        self.backend = EngineBackend(model_dir)
        app = create_gateway_app(self.backend, body_limit=1 << 20, store=store)
        self._client = testing.TestClient(app)

    def post(self, path: str, **body: Any) -> testing.Result:
        return self._client.simulate_post(path, json={"model": "m", **body})

    def prompt(self, path: str, **body: Any) -> str:
        """Return the one text that the tokenizer got for a request that was served."""
        del self.backend.texts[:]
        result = self.post(path, **body)
        assert result.status_code == 200, result.text
        (text,) = self.backend.texts
        return text

    def shown(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """Return the messages that the template was given, and last its tools."""
        text = self.prompt(path, **body)
        *lines, end = text.split("\n")
        assert end == "answer"
        return [json.loads(line.removeprefix("tools ")) for line in lines]

    def refused(self, path: str, **body: Any) -> dict[str, Any]:
        """Return the error of a request of which the tokenizer got nothing."""
        del self.backend.texts[:]
        result = self.post(path, **body)
        assert result.status_code == 400
        assert self.backend.texts == []
        error: dict[str, Any] = result.json["error"]
        return error


def user(text: str = "Hi") -> dict[str, Any]:
    """What the user says."""
    return {"role": "user", "content": text}
