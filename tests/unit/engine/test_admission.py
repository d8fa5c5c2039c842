from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.admission import Admission
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.refused import Refused
from neuron_runtime.engine.sequence import Sampling
from neuron_runtime.engine.tokenizer import Tokenizer
from tests.unit.engine.admitting import admit
from tests.unit.engine.tiny_model import CHATML, make_model_dir
from transports.failures import FailureCode
from transports.schemas.generate import Generate, SamplingOptions

HELLO = [{"role": "user", "content": "hi"}]
REFUSING = "{{ raise_exception('no system messages') }}"


def admission(
    path: Path, generation: dict[str, Any] | None = None, template: str = CHATML
) -> Admission:
    make_model_dir(path, generation=generation, template=template)
    return Admission("m", Tokenizer.load(path), ModelFacts.load(path), lambda: 4711)


def ask(**sampling: Any) -> Generate:
    return Generate("r1", "m", HELLO, SamplingOptions(**sampling))


def test_a_request_becomes_a_sequence(tmp_path: Path) -> None:
    admitting = admission(tmp_path)

    (first,) = admit(admitting, ask(max_tokens=5, temperature=0.0, seed=3), 10.0, 20.0)
    (second,) = admit(admitting, ask(), 11.0, None)

    assert first.prompt == Tokenizer.load(tmp_path).encode_chat(HELLO)
    assert (first.max_tokens, first.arrived, first.deadline) == (5, 10.0, 20.0)
    assert first.sampling == Sampling(temperature=0.0, seed=3)
    assert second.id != first.id


@pytest.mark.parametrize(
    ("asked", "model", "used"),
    [
        ({}, {}, Sampling(1.0, 1.0, 0, 4711)),
        ({}, {"temperature": 0.5, "top_p": 0.9, "top_k": 20}, Sampling(0.5, 0.9, 20, 4711)),
        (
            {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 0},
            {"temperature": 0.5, "top_p": 0.9, "top_k": 20},
            Sampling(0.0, 1.0, 0, 0),
        ),
        ({"top_p": 0.0}, {}, Sampling(1.0, 0.0, 0, 4711)),
    ],
    ids=["neutral", "the model's", "the request's", "the likeliest only"],
)
def test_the_request_decides_then_the_model_then_nothing(
    tmp_path: Path, asked: dict[str, Any], model: dict[str, Any], used: Sampling
) -> None:
    (sequence,) = admit(admission(tmp_path, model), ask(**asked))
    assert sequence.sampling == used


@pytest.mark.parametrize(
    "asked",
    [
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": -0.1},
        {"top_p": 1.1},
        {"top_k": -1},
        {"seed": -1},
        {"seed": 2**63},
        {"min_p": 1.5},
        {"frequency_penalty": -2.5},
        {"presence_penalty": float("nan")},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("inf")},
        {"logprobs": 21},
        {"logit_bias": ((-1, 0.0),)},
        {"logit_bias": ((1, 101.0),)},
        {"logit_bias": ((1, 0.0),) * 1025},
        {"stop": ("",)},
        {"stop": ("a",) * 17},
    ],
    ids=str,
)
def test_a_bad_value_is_refused_by_name(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        admit(admission(tmp_path), ask(**asked))

    (name,) = asked
    assert refused.value.failure.code == FailureCode.INVALID_REQUEST
    assert refused.value.failure.param == name
    assert name in refused.value.failure.message


@pytest.mark.parametrize(
    ("template", "messages"),
    [(CHATML, []), (REFUSING, HELLO), ("", HELLO)],
    ids=["none", "refused by the template", "rendered to nothing"],
)
def test_messages_that_make_no_prompt_are_refused(
    tmp_path: Path, template: str, messages: list[dict[str, Any]]
) -> None:
    with pytest.raises(Refused) as refused:
        admit(admission(tmp_path, template=template), Generate("r1", "m", messages))

    assert refused.value.failure.code == FailureCode.INVALID_REQUEST
    assert refused.value.failure.param == "messages"


def test_a_request_for_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        admit(admission(tmp_path), Generate("r1", "other", HELLO))

    assert refused.value.failure.code == FailureCode.MODEL_NOT_FOUND
    assert "other" in refused.value.failure.message


def test_choices_share_a_prompt_and_differ_in_their_seeds(tmp_path: Path) -> None:
    admitting = admission(tmp_path)
    asked = SamplingOptions(seed=3, ignore_eos=True)

    (alone,) = admit(admitting, Generate("r1", "m", HELLO, asked))
    first, second, third = admit(admitting, Generate("r1", "m", HELLO, asked, "key", n=3))

    assert first.sampling == alone.sampling
    assert len({each.sampling.seed for each in (first, second, third)}) == 3
    assert len({each.id for each in (alone, first, second, third)}) == 4
    assert {each.prompt for each in (first, second, third)} == {alone.prompt}
    assert {(each.principal, each.ignore_eos) for each in (first, second, third)} == {("key", True)}
    assert admit(admitting, Generate("r1", "m", HELLO, asked, n=3))[2].sampling == third.sampling


@pytest.mark.parametrize("choices", [0, 17])
def test_a_number_of_choices_that_cannot_be_is_refused(tmp_path: Path, choices: int) -> None:
    with pytest.raises(Refused) as refused:
        admit(admission(tmp_path), Generate("r1", "m", HELLO, n=choices))

    assert refused.value.failure.param == "n"


def test_all_that_a_request_says_about_sampling_arrives(tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "min_p": 0.1,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "repetition_penalty": 1.1,
        "logit_bias": ((5, -100.0),),
        "logprobs": 0,
    }
    (sequence,) = admit(admission(tmp_path), ask(**said, seed=1, temperature=0.0))

    assert sequence.sampling == Sampling(seed=1, **said)
    assert sequence.sampling.counts_tokens
    assert not Sampling(logit_bias=((5, 1.0),)).counts_tokens


@pytest.mark.parametrize("prompt", ["hi", (104, 105)])
def test_a_bare_prompt_is_taken_as_it_is(tmp_path: Path, prompt: str | tuple[int, ...]) -> None:
    asked = Generate("r1", "m", [], prompt=prompt)
    (sequence,) = admit(admission(tmp_path), asked)

    expected = Tokenizer.load(tmp_path).encode("hi") if prompt == "hi" else prompt
    assert sequence.prompt == expected


@pytest.mark.parametrize("prompt", ["", (), (-1,), (2**31,)], ids=str)
def test_a_bare_prompt_that_is_none_is_refused(
    tmp_path: Path, prompt: str | tuple[int, ...]
) -> None:
    with pytest.raises(Refused) as refused:
        admit(admission(tmp_path), Generate("r1", "m", [], prompt=prompt))

    assert refused.value.failure.param == "prompt"


@pytest.mark.parametrize("token", [-1, 100])
def test_ids_that_the_model_does_not_know_are_refused_by_name(tmp_path: Path, token: int) -> None:
    make_model_dir(tmp_path, config={"vocab_size": 100})
    facts = ModelFacts.load(tmp_path)
    admitting = Admission("m", Tokenizer.load(tmp_path), facts, lambda: 1)
    with pytest.raises(Refused, match="token ids of 0 to 99") as refused:
        admit(admitting, Generate("r1", "m", [], prompt=(99, token)))
    assert refused.value.failure.param == "prompt"

    biased = SamplingOptions(logit_bias=((99, 1.0), (token, 1.0)))
    with pytest.raises(Refused, match="token ids of 0 to 99") as refused:
        admit(admitting, Generate("r1", "m", [], biased, prompt=(99,)))
    assert refused.value.failure.param == "logit_bias"
    assert admit(admitting, Generate("r1", "m", [], prompt=(99,)))
