"""Chat templates, held against transformers itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.chat_template import ChatTemplate, ChatTemplateError
from neuron_runtime.engine.tokenizer import Tokenizer
from tests.unit.engine.realistic_templates import NAMES
from tests.unit.engine.realistic_templates import template as realistic
from tests.unit.engine.tiny_model import CHATML, make_model_dir

Messages = list[dict[str, Any]]

HELLO: Messages = [{"role": "user", "content": "Grüße <b>&amp;</b> 'you' \"too\" 🙂"}]
DIALOGUE: Messages = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two.", "tool_calls": None, "reasoning": "hm"},
    {"role": "user", "content": "Three?", "name": "ann"},
]
TEMPLATES = {
    "chatml": CHATML,
    "tokens": "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}",
    "json": "{{ messages | tojson }}|{{ messages | tojson(indent=2) }}",
    "json_options": "{{ messages | tojson(separators=(',', ':'), sort_keys=true) }}",
    "loop": "{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}"
    "{{ m.role }}{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% endfor %}",
    "namespace": "{% set ns = namespace(seen=0) %}{% for m in messages %}"
    "{% set ns.seen = ns.seen + 1 %}{% endfor %}{{ ns.seen }}",
    "dict": "{{ dict(a=1) | tojson }}{{ dict.fromkeys(['x']) | tojson }}",
    "missing": "{% if tools %}T{% endif %}{% if documents is none %}D{% endif %}{{ nothing }}",
    "absent_key": "{% for m in messages %}{{ 'tool_calls' in m }}{% endfor %}",
    "reasoning": "{% for m in messages %}{{ m.reasoning_content }}{{ m.thinking }}{% endfor %}",
    "blocks": "  {% for m in messages %}\n    {{ m.role }}\n  {% endfor %}\nend\n",
    "date": "{{ strftime_now('%Y') }}",
}


@pytest.mark.parametrize("messages", [HELLO, DIALOGUE], ids=["hello", "dialogue"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_renders_as_transformers_does(
    template: str, messages: Messages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_dir = make_model_dir(tmp_path, template=template)
    theirs = transformers_tokenizer(model_dir, monkeypatch)
    ours = Tokenizer.load(model_dir)

    wanted = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)

    assert ChatTemplate(template, ours.special_tokens).render(messages) == wanted
    assert ours.encode_chat(messages) == tuple(ids)


TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Das Wetter in <city> & 'Umgebung' 🙂",
            "parameters": {
                "type": "object",
                "required": ["city"],
                "properties": {
                    "city": {"type": "string", "description": "Where"},
                    "days": {"type": "integer", "enum": [1, 2]},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": {"properties": {}}}},
)
ARGUMENTS = {"city": "Köln", "deep": {"a": [1, None, True]}}
AGENT: Messages = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm\n",
        "tool_calls": [
            {
                "id": "abcdefghi",
                "type": "function",
                "function": {"name": "weather", "arguments": ARGUMENTS},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "abcdefghi", "content": '{"sky": "blue"}'},
]


def transformers_tokenizer(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(model_dir)


def with_text_arguments(messages: Messages) -> Messages:
    """Return the messages as OpenAI's clients send them: arguments as JSON text."""
    sent: Messages = json.loads(json.dumps(messages))
    for message in sent:
        for call in message.get("tool_calls") or []:
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    return sent


@pytest.mark.parametrize("variables", [{}, {"enable_thinking": False, "date_string": "today"}])
@pytest.mark.parametrize("messages", [HELLO, DIALOGUE, AGENT], ids=["hello", "dialogue", "agent"])
@pytest.mark.parametrize("name", NAMES)
def test_realistic_templates_render_as_in_transformers(
    name: str,
    messages: Messages,
    variables: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model_dir = make_model_dir(tmp_path, template=realistic(name))
    theirs = transformers_tokenizer(model_dir, monkeypatch)
    ours = Tokenizer.load(model_dir)
    tools = () if name == "smollm2" else TOOLS

    ids = theirs.apply_chat_template(
        messages,
        tools=list(tools) or None,
        add_generation_prompt=True,
        return_dict=False,
        **variables,
    )

    assert ours.encode_chat(with_text_arguments(messages), tools, variables) == tuple(ids)


def test_templates_by_name_are_chosen_as_in_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_dir = make_model_dir(tmp_path, template="default")
    (model_dir / "additional_chat_templates").mkdir()
    (model_dir / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools | length }}")
    theirs = transformers_tokenizer(model_dir, monkeypatch)
    ours = Tokenizer.load(model_dir)

    for tools in ((), TOOLS):
        ids = theirs.apply_chat_template(HELLO, tools=list(tools) or None, return_dict=False)
        assert ours.encode_chat(HELLO, tools) == tuple(ids)


@pytest.mark.parametrize("older", [True, False])
def test_special_tokens_have_the_names_that_transformers_gives(
    older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = "{{ bos_token }}|{{ eos_token }}|{{ image_token }}|{{ voice_token }}|{{ pad_token }}"
    model_dir = make_model_dir(tmp_path, template=shown)
    path = model_dir / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config |= {"image_token": "<|im_start|>", "add_bos_token": True}
    config["extra_special_tokens"] = {"voice_token": "<|im_end|>"}
    if not older:
        config["added_tokens_decoder"] = {}
    path.write_text(json.dumps(config))
    older_file = {"bos_token": {"content": "<|endoftext|>"}, "pad_token": "<|im_end|>"}
    (model_dir / "special_tokens_map.json").write_text(json.dumps(older_file))
    theirs = transformers_tokenizer(model_dir, monkeypatch)

    ids = theirs.apply_chat_template(HELLO, return_dict=False)

    assert Tokenizer.load(model_dir).encode_chat(HELLO) == tuple(ids)


def test_tools_that_the_template_does_not_know_are_refused() -> None:
    template = ChatTemplate(realistic("smollm2"), {})

    assert not template.renders_tools
    with pytest.raises(ChatTemplateError, match="does not support tools: switch") as caught:
        template.render(HELLO, tools=TOOLS)
    assert caught.value.param == "tools"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "smollm2"])
@pytest.mark.parametrize(
    "parameters", [{}, {"parameters": None}, {"parameters": {}}, {"parameters": {"type": "object"}}]
)
def test_a_tool_need_not_say_that_it_has_no_parameters(
    name: str, parameters: dict[str, Any]
) -> None:
    tool = {"type": "function", "function": {"name": "now", "description": "It", **parameters}}
    template = ChatTemplate(realistic(name), {"bos_token": "<s>", "eos_token": "</s>"})
    assert "now" in template.render(HELLO, tools=[tool])


def test_a_tool_is_shown_as_it_was_sent_where_that_can_be() -> None:
    bare = {"type": "function", "function": {"name": "f"}}
    shown = ChatTemplate("{{ tools | tojson }}", {}).render(HELLO, tools=[bare])
    assert json.loads(shown) == [bare]


def test_only_the_properties_are_added_to_a_tool() -> None:
    source = "{% for t in tools %}{{ t.function.parameters.properties | items | list }}{% endfor %}"
    bare = {"type": "function", "function": {"name": "f"}}
    own = {"function": {"parameters": {"$ref": "#/a", "required": []}, "name": "g"}, "x": 1}

    shown = ChatTemplate(source + "{{ tools | tojson }}", {}).render(
        HELLO, tools=[bare, own, *TOOLS]
    )

    tools = json.loads(shown[shown.rindex("[{") :])
    assert tools[0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert tools[1]["function"]["parameters"] == {"$ref": "#/a", "required": [], "properties": {}}
    assert tools[2:] == list(TOOLS)
    assert "parameters" not in bare["function"]


@pytest.mark.parametrize("arguments", ["no JSON", "[1]", "3", "[" * 100_000])
def test_arguments_that_are_no_object_are_left_to_the_template(arguments: str) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    template = ChatTemplate("{{ messages[0].tool_calls[0].function.arguments }}", {})

    assert template.render([{"role": "assistant", "tool_calls": [call]}]) == arguments


@pytest.mark.parametrize("arguments", ["", None, {}, "{}"])
def test_a_call_without_arguments_has_an_empty_object(arguments: Any) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    template = ChatTemplate("{{ messages[0].tool_calls[0].function | tojson }}", {})

    shown = template.render([{"role": "assistant", "tool_calls": [call]}])
    assert json.loads(shown) == {"name": "f", "arguments": {}}


def test_half_of_a_surrogate_pair_in_a_call_can_be_rendered_and_encoded() -> None:
    template = ChatTemplate("{{ messages[0].tool_calls[0].function.arguments | tojson }}", {})
    call = {"function": {"name": "f", "arguments": r'{"a": "\ud83d!", "b": "\ud83d\ude00"}'}}

    prompt = template.render([{"role": "assistant", "tool_calls": [call]}])

    assert prompt == '{"a": "\ufffd!", "b": "\U0001f600"}'


def test_variables_replace_special_tokens_and_nothing_else() -> None:
    template = ChatTemplate(
        "{{ bos_token }}{{ messages | length }}{{ mood }}", {"bos_token": "<s>"}
    )

    given = {"messages": [], "bos_token": "B", "mood": "!"}
    assert template.render(HELLO, variables=given) == "B1!"


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[7].content }}",
        "{{ messages + 1 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% set ns = namespace(_x=1) %}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
    ],
)
def test_a_template_that_refuses_or_fails_is_a_typed_error(template: str) -> None:
    with pytest.raises(ChatTemplateError, match="cannot render"):
        ChatTemplate(template, {}).render(HELLO)


def test_the_templates_own_words_reach_the_user() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}", {})

    with pytest.raises(ChatTemplateError, match="roles must alternate"):
        template.render(HELLO)


def test_a_broken_template_is_refused_when_it_is_compiled() -> None:
    with pytest.raises(ChatTemplateError, match="not valid"):
        ChatTemplate("{% for %}", {})


@pytest.mark.parametrize("begun", ["The answer is", " padded \n", "one\n\ntwo", "<", "end", "\n>"])
@pytest.mark.parametrize("name", ["smollm2", "qwen", "llama"])
def test_an_answer_that_was_begun_is_continued_as_transformers_does(
    name: str, begun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_dir = make_model_dir(tmp_path, template=realistic(name))
    theirs = transformers_tokenizer(model_dir, monkeypatch)
    messages = [*HELLO, {"role": "assistant", "content": begun}]

    ids = theirs.apply_chat_template(messages, continue_final_message=True, return_dict=False)

    ours = Tokenizer.load(model_dir).encode_chat(messages, continue_final=True)
    assert ours == tuple(ids)


def test_what_a_template_does_not_show_cannot_be_continued() -> None:
    template = ChatTemplate("{{ messages | length }}", {})
    with pytest.raises(ChatTemplateError, match="cannot be continued"):
        template.render([{"role": "assistant", "content": "begun"}], continue_final=True)


@pytest.mark.parametrize("known", [True, False])
def test_a_developer_is_the_system_to_templates_that_know_none(known: bool) -> None:
    source = "{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}"
    if known:
        source = "{# developer #}" + source
    messages = [{"role": "user", "content": "Hi"}, {"role": "developer", "content": "Be brief."}]
    role = "developer" if known else "system"
    assert ChatTemplate(source, {}).render(messages) == f"user: Hi;{role}: Be brief.;"
    assert messages[1]["role"] == "developer"
