from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.clients.askers import ASKERS
from tests.e2e.fleet import MODEL, Fleet, read_stream

pytestmark = [pytest.mark.process, pytest.mark.torch, pytest.mark.timeout(120)]

QUESTIONS = (
    "What is the capital of France?",
    "Write two sentences about the sea — with an em dash, please.",
)
MAX_TOKENS = 48


@pytest.fixture(scope="module")
def reference_answer(one_fleet: Fleet, model_cache: Path) -> Callable[[str], str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Now the model has been converted.
    one_fleet.start()
    (model_dir,) = (model_cache / "models").glob("SmolLM2*")
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)

    def answer(question: str) -> str:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        output = model.generate(**prompt, max_new_tokens=MAX_TOKENS, do_sample=False)
        tokens = output[0][prompt["input_ids"].shape[1] :]
        return str(tokenizer.decode(tokens, skip_special_tokens=True))

    return answer


def ask(fleet: Fleet, question: str, **options: Any) -> Any:
    settings: dict[str, Any] = {"temperature": 0, "max_tokens": MAX_TOKENS} | options
    return fleet.client().chat.completions.create(
        model=settings.pop("model", MODEL),
        messages=[{"role": "user", "content": question}],
        **settings,
    )


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_streamed_answer_equals_transformers_own_greedy_generate(
    fleet: Fleet, reference_answer: Callable[[str], str], question: str
) -> None:
    text, finish = read_stream(ask(fleet, question, stream=True))

    assert text == reference_answer(question)
    assert finish in {"stop", "length"}


def test_an_answer_in_one_piece_is_the_streamed_one_joined(fleet: Fleet) -> None:
    streamed, _ = read_stream(ask(fleet, QUESTIONS[0], stream=True))
    whole = ask(fleet, QUESTIONS[0])

    assert whole.choices[0].message.content == streamed
    assert whole.usage.completion_tokens > 1
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_other_clients_get_the_same_words(fleet: Fleet) -> None:
    said = ask(fleet, QUESTIONS[0]).choices[0].message.content
    options: dict[str, Any] = {"temperature": 0, "max_tokens": MAX_TOKENS, "max_retries": 0}
    messages: Any = [{"role": "user", "content": QUESTIONS[0]}]
    greedy = {"temperature": 0}
    with (
        anthropic.Anthropic(base_url=fleet.url, api_key="none", max_retries=0) as client,
        client.messages.stream(
            model=MODEL, max_tokens=MAX_TOKENS, messages=messages, extra_body=greedy
        ) as stream,
    ):
        pieces = list(stream.text_stream)
        final: Any = stream.get_final_message()
    through_openai = ChatOpenAI(
        base_url=f"{fleet.url}/v1", api_key=SecretStr("none"), model=MODEL, **options
    )
    make: Any = ChatAnthropic
    through_anthropic = make(base_url=fleet.url, api_key="none", model_name=MODEL, **options)

    assert len(pieces) > 1
    assert "".join(pieces) == final.content[0].text == said
    assert final.usage.output_tokens > 1
    assert through_openai.invoke(QUESTIONS[0]).content == said
    assert "".join(each.text for each in through_anthropic.stream(QUESTIONS[0])) == said


@pytest.mark.parametrize("name", sorted(ASKERS.keys() & {"llm", "openai-javascript"}))
def test_every_client_gets_an_answer(fleet: Fleet, name: str) -> None:
    assert ASKERS[name](fleet.url, MODEL, QUESTIONS[0], 0).strip()


def test_the_neuron_alone_and_the_gateway_by_alias_answer_alike(fleet: Fleet) -> None:
    answer = fleet.client(fleet.neuron_url).chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": QUESTIONS[0]}],
        temperature=0,
        max_tokens=MAX_TOKENS,
    )

    by_alias = ask(fleet, QUESTIONS[0], model="small")
    assert answer.choices[0].message.content == by_alias.choices[0].message.content


def test_the_same_seed_gives_the_same_text(fleet: Fleet) -> None:
    first, second, other = (
        ask(fleet, "Tell me a story.", temperature=1.0, seed=seed).choices[0].message.content
        for seed in (7, 7, 8)
    )

    assert first == second != other


@pytest.mark.parametrize(
    ("options", "status", "code", "param"),
    [
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"temperature": 9}, 400, None, "temperature"),
        ({"max_tokens": 0}, 400, None, "max_tokens"),
        ({"stop": ["a"] * 5}, 400, None, "stop"),
    ],
)
def test_a_bad_value_is_refused_with_the_parameters_name(
    fleet: Fleet, options: dict[str, Any], status: int, code: str | None, param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        ask(fleet, "Hi", **options)

    assert refused.value.status_code == status
    assert refused.value.param == param
    assert code is None or refused.value.code == code


def test_a_prompt_longer_than_the_context_is_refused_in_the_words_clients_match(
    fleet: Fleet,
) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length is 8192 tokens"):
        ask(fleet, "word " * 9000)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{not json", 400), (b'{"messages": []}', 400), (b"[]", 400), (b"\xff\xfe", 400)],
)
def test_a_malformed_body_gets_the_error_envelope_and_disturbs_nobody(
    fleet: Fleet, body: bytes, status: int
) -> None:
    stream = ask(fleet, QUESTIONS[0], stream=True)
    answer = fleet.http.post(
        "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert read_stream(stream)[0] == "The capital of France is Paris."


def test_a_body_over_the_limit_is_refused(fleet: Fleet) -> None:
    answer = fleet.http.post(
        "/v1/chat/completions",
        content=b" " * (33 * 1024 * 1024),
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 413
    assert answer.json()["error"]["message"]


def test_metrics_count_what_was_served(fleet: Fleet) -> None:
    ask(fleet, QUESTIONS[0])
    url = f"http://127.0.0.1:{fleet.metrics_port}/metrics"
    text = fleet.http.get(url).text

    assert f'cortex_requests_total{{gen_ai_request_model="{MODEL}"' in text
    assert "gen_ai_server_time_to_first_token_seconds_count" in text
    assert "cortex_actor_restarts" in text


def test_the_tokens_of_a_message_are_counted_as_they_are_used(fleet: Fleet) -> None:
    prompt = {
        "model": "small",
        "system": [{"type": "text", "text": "Answer in one sentence."}],
        "messages": [{"role": "user", "content": QUESTIONS[0]}],
    }
    counted = fleet.http.post("/v1/messages/count_tokens", json=prompt).json()
    for _ in range(2):  # the second time, most of it is known already
        answer = fleet.http.post("/v1/messages", json={**prompt, "max_tokens": 4}).json()
        usage = answer["usage"]
        assert usage["input_tokens"] + usage["cache_read_input_tokens"] == counted["input_tokens"]
    assert usage["cache_read_input_tokens"] > 0
    assert usage["output_tokens"] == 4
    assert answer["stop_reason"] == "max_tokens"


def test_a_message_goes_on_from_what_was_begun_and_names_the_stop_it_met(fleet: Fleet) -> None:
    answer = fleet.http.post(
        "/v1/messages",
        json={
            "model": MODEL,
            "max_tokens": 24,
            "temperature": 0,
            "stop_sequences": ["."],
            "messages": [
                {"role": "user", "content": QUESTIONS[0]},
                {"role": "assistant", "content": "The capital of France is"},
            ],
        },
    ).json()

    assert answer["content"] == [{"type": "text", "text": " Paris"}]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", ".")


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/v1/messages", {"model": "x", "messages": []}, 400, "invalid_request_error"),
        (
            "/v1/messages",
            {"model": "nobody", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]},
            404,
            "not_found_error",
        ),
        ("/v1/messages/batches", {}, 404, "not_found_error"),
    ],
)
def test_messages_fail_in_anthropics_own_words(
    fleet: Fleet, path: str, body: dict[str, Any], status: int, kind: str
) -> None:
    """B04, B05; also where there is no such route."""
    answer = fleet.http.post(path, json=body)

    assert answer.status_code == status
    assert (answer.json()["type"], answer.json()["error"]["type"]) == ("error", kind)
    assert answer.json()["request_id"] == answer.headers["request-id"]
