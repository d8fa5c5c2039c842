"""What a stream that its client left has come to, as operators find it afterwards."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.clients.fleet import ENDLESS, ScriptedStack
from tests.eventually import eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


def test_the_engines_figures_of_an_aborted_stream_can_be_asked_for(stack: ScriptedStack) -> None:
    explained: dict[str, Any] = {}

    def settled(client: httpx.Client) -> bool:
        answer = client.get(f"{stack.url}/admin/requests/aborted-1").json()
        explained.update(answer.get("settled") or {})
        return bool(explained)

    with httpx.Client(trust_env=False, timeout=20.0) as client:
        url = f"{stack.url}/v1/chat/completions"
        headers = {"x-request-id": "aborted-1"}
        with client.stream("POST", url, json=ENDLESS, headers=headers) as answer:
            lines = (line for line in answer.iter_lines() if '"content":"' in line)
            read = [next(lines) for _ in range(20)]
        eventually(lambda: settled(client), what="the lease is settled")

    assert explained["outcome"] == "cancelled"
    assert explained["prompt_tokens"] > 0
    assert explained["completion_tokens"] >= len(read) - 1
    assert explained["decode_s"] > 0
    assert explained["prefill_s"] > 0
    assert sum(explained["gaps"]["counts"]) > 0
    line = stack.log_line("id=aborted-1")
    assert "error=client_gone" in line
    assert "prompt_tokens=" in line
