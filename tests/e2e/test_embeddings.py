"""Embeddings from a real model through both daemons, asked by the official client."""

from __future__ import annotations

import base64
import math
import signal
import struct
import threading
from collections.abc import Sequence
from typing import Any

import openai
import psutil
import pytest

from tests.e2e.fleet import EMBEDDER, MODEL, Fleet
from tests.eventually import eventually
from tests.torch.embedding_models import minilm_dir

pytestmark = [pytest.mark.process, pytest.mark.torch, pytest.mark.timeout(120)]

TEXTS = ["A man is eating food.", "Someone has a meal.", "The stock market fell sharply today."]


def embed(fleet: Fleet, given: Any, url: str = "", **options: Any) -> Any:
    settings: dict[str, Any] = {"model": EMBEDDER} | options
    return fleet.client(url).embeddings.create(input=given, **settings)


def vectors(answer: Any) -> list[list[float]]:
    assert [each.index for each in answer.data] == list(range(len(answer.data)))
    return [each.embedding for each in answer.data]


def near(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def reference(texts: Sequence[str]) -> list[list[float]]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_dir())
    model = AutoModel.from_pretrained(minilm_dir(), dtype=torch.float32).eval()
    with torch.no_grad():
        rows = [
            model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)
            for text in texts
        ]
    whole: list[list[float]] = torch.nn.functional.normalize(torch.stack(rows), dim=1).tolist()
    return whole


def rank_of(fleet: Fleet, model: str) -> psutil.Process:
    (rank,) = fleet.ranks(model)
    return rank


def test_the_first_request_loads_the_model_and_gets_the_right_vectors(fleet: Fleet) -> None:
    answer = embed(fleet, TEXTS)
    found = vectors(answer)

    for got, expected in zip(found, reference(TEXTS), strict=True):
        assert got == pytest.approx(expected, abs=1e-5)
    assert near(found[0], found[1]) > 0.5
    assert near(found[0], found[2]) < 0.3
    assert answer.model == EMBEDDER
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 8 + 7 + 9


def test_the_neuron_alone_and_every_form_of_input_agree(fleet: Fleet) -> None:
    from tokenizers import Tokenizer

    (expected,) = vectors(embed(fleet, TEXTS[0]))
    tokenizer = Tokenizer.from_file(str(minilm_dir() / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tokenizer.encode(TEXTS[0]).ids
    for answer in (
        embed(fleet, TEXTS[0], fleet.neuron_url),
        embed(fleet, [TEXTS[0]], encoding_format="float"),
        embed(fleet, ids),
        embed(fleet, [ids]),
    ):
        assert vectors(answer)[0] == pytest.approx(expected, abs=1e-6)


def test_base64_on_the_wire_is_float32(fleet: Fleet) -> None:
    asked = {"model": EMBEDDER, "input": TEXTS[0], "encoding_format": "base64", "dimensions": 16}
    answer = fleet.http.post("/v1/embeddings", json=asked).json()
    values = struct.unpack("<16f", base64.b64decode(answer["data"][0]["embedding"]))
    (whole,) = vectors(embed(fleet, TEXTS[0]))

    assert math.hypot(*values) == pytest.approx(1.0, abs=1e-6)
    assert values == pytest.approx([x / math.hypot(*whole[:16]) for x in whole[:16]], abs=1e-5)


@pytest.mark.parametrize(
    ("given", "options", "param", "said"),
    [
        ("word " * 300, {}, "input", "maximum context length is 256 tokens"),
        ("", {}, "input", "must not be empty"),
        ([], {}, "input", "1 to 2048 inputs"),
        (["a"] * 2049, {}, "input", "1 to 2048 inputs"),
        ([[40_000]], {}, "input", "token id outside of 0 to 30521"),
        ("a", {"dimensions": 385}, "dimensions", "have only 384"),
        ("a", {"model": MODEL}, "model", "generates text and makes no embeddings"),
    ],
)
def test_what_cannot_be_embedded_is_a_400_that_names_the_parameter(
    fleet: Fleet, given: Any, options: dict[str, Any], param: str, said: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        embed(fleet, given, **options)
    assert refused.value.param == param


def test_a_model_for_embeddings_does_not_chat(fleet: Fleet) -> None:
    with pytest.raises(openai.BadRequestError, match="makes embeddings") as refused:
        fleet.client().chat.completions.create(
            model=EMBEDDER, messages=[{"role": "user", "content": "Hi"}]
        )
    assert refused.value.param == "model"


def test_a_cold_model_for_embeddings_is_not_even_loaded_for_a_chat(fleet: Fleet) -> None:
    def listed() -> dict[str, Any]:
        models: list[dict[str, Any]] = fleet.http.get("/v1/models").json()["data"]
        return next(model for model in models if model["id"] == EMBEDDER)

    embed(fleet, TEXTS[0])
    assert fleet.http.post("/admin/unload", json={"model": EMBEDDER}).status_code == 200
    eventually(lambda: listed()["status"] == "unloaded", 10.0, "it is unloaded")
    assert listed()["capabilities"] == ["embeddings"]

    with pytest.raises(openai.BadRequestError, match="makes embeddings"):
        fleet.client().chat.completions.create(
            model=EMBEDDER, messages=[{"role": "user", "content": "Hi"}]
        )
    assert listed()["status"] == "unloaded"
    embed(fleet, TEXTS[0])


def test_a_request_survives_kill_9_of_its_rank(fleet: Fleet) -> None:
    texts = [f"This is text number {number} of very many that are alike." for number in range(400)]
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(embed(fleet, texts)))
    rank = rank_of(fleet, EMBEDDER)
    began = rank.cpu_times().user
    asking.start()
    eventually(lambda: rank.cpu_times().user > began + 0.1, 20.0, "the rank works")
    rank.send_signal(signal.SIGKILL)
    asking.join(90.0)

    (answer,) = answers
    (last,) = vectors(embed(fleet, texts[-1]))
    assert len(answer.data) == len(texts)
    assert answer.data[-1].embedding == pytest.approx(last, abs=1e-5)
    assert rank_of(fleet, EMBEDDER).pid != rank.pid


def test_metrics_count_the_tokens(fleet: Fleet) -> None:
    text = fleet.http.get(f"http://127.0.0.1:{fleet.metrics_port}/metrics").text
    assert f'cortex_requests_total{{gen_ai_request_model="{EMBEDDER}"' in text
