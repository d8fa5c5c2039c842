from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.chat_template import ChatTemplate, ChatTemplateError
from neuron_runtime.engine.tokenizer import Tokenizer
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
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import PreTrainedTokenizerFast

    model_dir = make_model_dir(tmp_path, template=template)
    theirs = PreTrainedTokenizerFast.from_pretrained(model_dir)
    ours = Tokenizer.load(model_dir)

    wanted = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)

    assert ChatTemplate(template, ours.special_tokens).render(messages) == wanted
    assert ours.encode_chat(messages) == tuple(ids)


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
