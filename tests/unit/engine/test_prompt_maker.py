"""From questions to prompts: what is counted, what is not even tokenized, which ids there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken

from neuron_runtime.engine import prompt_maker, tokenizer
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.prompt_maker import CHARACTERS_PER_TOKEN, PromptMaker
from neuron_runtime.engine.refused import Refused
from neuron_runtime.engine.tokenizer import Tokenizer
from tests.unit.engine.tiny_model import CHATML, make_model_dir, make_tokenizer
from transports.failures import FailureCode
from transports.schemas.generate import Generate
from transports.schemas.link import Failure

CONTEXT = 10
MOST = CONTEXT * CHARACTERS_PER_TOKEN
CORE = make_tokenizer()


class Deaf:
    """A tokenizer's library that must not be asked for any tokens."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def encode(self, text: str, **_: Any) -> Any:
        raise AssertionError(len(text))

    encode_batch_fast = encode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)


def maker(core: Any = CORE, context_length: int | None = CONTEXT) -> PromptMaker:
    return PromptMaker(Tokenizer(core, {}, CHATML), ModelFacts(context_length))


def chat(content: Any, **more: Any) -> Generate:
    return Generate("r", "m", [{"role": "user", "content": content}], **more)


def refusal(making: PromptMaker, question: Generate) -> Failure:
    def prompt() -> None:
        making.check(question)
        making.make(question)

    with pytest.raises(Refused) as refused:
        prompt()
    return refused.value.failure


LONG = "a" * (MOST + 1)
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": LONG}}


@pytest.mark.parametrize(
    "question",
    [
        chat(LONG),
        chat([{"type": "text", "text": LONG[:400]}, {"type": "text", "text": LONG[400:]}]),
        chat("hi", tools=({"type": "function", "function": {"name": "f", "description": LONG}},)),
        chat("hi", tools=({"type": "function", "function": {"parameters": {LONG: {}}}},)),
        chat("hi", template={"documents": [LONG]}),
        chat("hi", template={"numbers": [1] * len(LONG)}),
        Generate("r", "m", [{"role": "assistant", "tool_calls": [CALL]}]),
        Generate("r", "m", [{"role": "assistant", "content": "", "reasoning_content": LONG}]),
        Generate("r", "m", [{"role": "user", "content": "a" * 60}] * 12),
        Generate("r", "m", [], prompt=LONG),
    ],
    ids=[
        "content",
        "text parts",
        "a tool's description",
        "a tool's parameters",
        "template variables",
        "numbers",
        "a call's arguments",
        "reasoning",
        "many messages",
        "bare",
    ],
)
def test_what_cannot_fit_is_not_even_tokenized(question: Generate) -> None:
    making = maker(Deaf(CORE))
    failure = refusal(making, question)

    assert failure.code == FailureCode.CONTEXT_LENGTH_EXCEEDED
    assert f"maximum context length is {CONTEXT} tokens" in failure.message
    assert failure.detail == {"max": str(CONTEXT)}


@pytest.mark.parametrize("value", [1, "", []], ids=["numbers", "empty texts", "empty lists"])
def test_more_values_than_anybody_says_are_refused(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_maker, "_MAX_VALUES", 50)
    making = maker(Deaf(CORE))
    failure = refusal(making, chat("hi", template={"x": [value] * 51}))
    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, "messages")


def test_arguments_of_which_a_part_is_too_long_are_not_even_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prompt_maker, "_PIECE_CHARACTERS", 15)

    def read(*_: object, **__: object) -> str:
        raise AssertionError("rendered")

    monkeypatch.setattr(Tokenizer, "render", read)
    call = {**CALL, "function": {"name": "f", "arguments": LONG[:300]}}
    turn = {"role": "assistant", "content": "", "tool_calls": [call]}
    failure = refusal(maker(), Generate("r", "m", [turn]))
    assert failure.code == FailureCode.CONTEXT_LENGTH_EXCEEDED


def test_a_template_that_makes_much_of_little_is_refused_before_it_is_tokenized() -> None:
    core: Any = Deaf(CORE)
    template = "{% for _ in range(900) %}a{% endfor %}"
    making = PromptMaker(Tokenizer(core, {}, template), ModelFacts(CONTEXT))
    making.check(chat("hi"))
    with pytest.raises(Refused, match="maximum context length"):
        making.make(chat("hi"))
    with pytest.raises(Refused, match="maximum context length"):
        making.count(chat("hi"))


def test_a_vocabulary_with_longer_tokens_lets_longer_texts_pass() -> None:
    core = make_tokenizer()
    core.add_tokens([AddedToken("x" * 100)])
    making = maker(core)
    fits = Generate("r", "m", [], prompt="x" * 100 * (CONTEXT - 1))

    assert making.check(fits) == 900 > MOST
    assert len(making.make(fits)) == CONTEXT - 1
    failure = refusal(maker(Deaf(core)), Generate("r", "m", [], prompt="x" * 1001))
    assert "at least 1001 characters" in failure.message


def test_without_a_known_limit_nothing_is_refused_by_its_length() -> None:
    making = maker(context_length=None)
    assert making.check(chat(LONG)) > MOST
    assert len(making.make(chat(LONG))) > MOST


def test_tokens_that_do_not_fit_are_counted_and_not_made() -> None:
    making = maker()
    text = "a" * 100
    failure = refusal(making, chat(text))
    expected = len(
        Tokenizer(CORE, {}, CHATML).encode_chat([{"role": "user", "content": "a" * 100}])
    )
    assert failure.detail == {"max": str(CONTEXT), "prompt_tokens": str(expected)}
    assert making.count(chat(text)) == expected
    ids = tuple(range(CONTEXT + 1))
    bare = Generate("r", "m", [], prompt=ids)
    assert refusal(making, bare).detail["prompt_tokens"] == str(len(ids))
    assert making.count(bare) == len(ids)


def test_a_text_of_which_a_part_is_too_long_is_not_tokenized_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prompt_maker, "_PIECE_CHARACTERS", 15)
    longest = 0

    class Listening(Deaf):
        def encode(self, text: str, **options: Any) -> Any:
            nonlocal longest
            longest = max(longest, len(text))
            return self._core.encode(text, **options)

    making = maker(Listening(CORE))
    failure = refusal(making, Generate("r", "m", [], prompt="a" * 200))
    assert failure.code == FailureCode.CONTEXT_LENGTH_EXCEEDED
    assert longest == 15


def test_a_long_text_whose_tokens_fit_passes_by_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_maker, "_PIECE_CHARACTERS", 60)
    core = make_tokenizer()
    core.add_tokens([AddedToken("x" * 30)])
    assert len(maker(core).make(Generate("r", "m", [], prompt="x" * 90))) == 3


@given(st.text(alphabet="ab \n\u00e9\u4e2d<|im_end|>", max_size=60), st.booleans())
def test_long_texts_become_the_same_tokens_as_short_ones(text: str, bare: bool) -> None:
    whole = Tokenizer(CORE, {}, CHATML)
    short = whole.encode(text, bare=bare)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokenizer, "LONG_CHARACTERS", -1)
        assert whole.encode(text, bare=bare) == short
        assert whole.count(text, bare=bare) == len(short)


def test_the_longest_token_is_found_among_added_ones_too(tmp_path: Path) -> None:
    whole = Tokenizer.load(make_model_dir(tmp_path))
    assert whole.longest_token == len("<|endoftext|>")
