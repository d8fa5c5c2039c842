from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuron_runtime.engine.chat_template import ChatTemplateError
from neuron_runtime.engine.model_facts import ModelFacts, ModelFilesError
from neuron_runtime.engine.tokenizer import Tokenizer, TokenizerError
from tests.unit.engine.tiny_model import END, FIRST_WORD, START, make_model_dir, make_tokenizer
from transports.schemas.generate import SamplingOptions


def test_text_survives_the_way_to_ids_and_back(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(make_model_dir(tmp_path))

    assert tokenizer.decode(tokenizer.encode("Grüße 🙂\n")) == "Grüße 🙂\n"


def test_a_chat_is_encoded_with_its_special_tokens(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(make_model_dir(tmp_path))

    ids = tokenizer.encode_chat([{"role": "user", "content": "hi"}])

    assert ids.count(START) == 2
    assert ids.count(END) == 1
    assert tokenizer.decode([START, FIRST_WORD, END]) == f" w{FIRST_WORD}"
    assert tokenizer.eos_id == END


@pytest.mark.parametrize(
    ("template", "more"),
    [
        ("{{ messages }}", ()),
        ("{{ messages }}{{ tools }}", ("tools",)),
        ("{{ messages }}<think></think>", ("reasoning",)),
    ],
)
def test_a_model_can_do_what_its_template_can(
    tmp_path: Path, template: str, more: tuple[str, ...]
) -> None:
    tokenizer = Tokenizer.load(make_model_dir(tmp_path, template=template))
    assert tokenizer.capabilities == ("completions", "chat", *more)


def test_a_model_without_a_template_goes_on_with_text_and_no_more() -> None:
    assert Tokenizer(make_tokenizer(), {}, None).capabilities == ("completions",)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    make_model_dir(tmp_path)
    (tmp_path / name).write_text("{")

    with pytest.raises(TokenizerError, match=name):
        Tokenizer.load(tmp_path)


def test_an_invalid_template_is_found_at_start(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="chat template is not valid"):
        Tokenizer.load(make_model_dir(tmp_path, template="{% if %}"))


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("A", "A"),
        ([{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}], "D"),
    ],
)
def test_a_template_may_be_in_the_tokenizer_config(
    tmp_path: Path, written: object, answer: str
) -> None:
    make_model_dir(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": written}))
    tokenizer = Tokenizer.load(tmp_path)

    assert tokenizer.decode(tokenizer.encode_chat([{"role": "user"}])) == answer


def test_a_model_without_a_template_cannot_chat() -> None:
    tokenizer = Tokenizer(make_tokenizer(), {}, None)

    with pytest.raises(ChatTemplateError, match="no chat template"):
        tokenizer.encode_chat([{"role": "user", "content": "hi"}])
    assert tokenizer.eos_id is None


def test_facts_come_from_the_models_own_files(tmp_path: Path) -> None:
    make_model_dir(
        tmp_path,
        config={"max_position_embeddings": 99, "eos_token_id": 1},
        generation={"eos_token_id": [2, 3], "temperature": 0.5, "top_p": 0.9, "top_k": 20},
    )

    facts = ModelFacts.load(tmp_path)

    assert facts.context_length == 99
    assert facts.eos_ids == {2, 3}
    assert facts.defaults == SamplingOptions(temperature=0.5, top_p=0.9, top_k=20)


def test_a_composite_models_text_part_counts(tmp_path: Path) -> None:
    text = {"max_position_embeddings": 77, "eos_token_id": 5}
    make_model_dir(tmp_path, config={"text_config": text})

    facts = ModelFacts.load(tmp_path)

    assert facts.context_length == 77
    assert facts.eos_ids == {5}


def test_facts_without_files_are_unknown(tmp_path: Path) -> None:
    assert ModelFacts.load(tmp_path) == ModelFacts()


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")

    with pytest.raises(ModelFilesError, match=r"config\.json"):
        ModelFacts.load(tmp_path)
