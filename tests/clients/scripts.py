"""What the model of these tests says, and the template that it is asked through."""

from __future__ import annotations

import json
from typing import Any

GREETING = "Hello there. How can I help you — today? 🌍"
THOUGHT = "The user wants the answer. It is forty-two."
ANSWER = "The answer is 42."
WEATHER_CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}
TIME_CALL = {"name": "get_time", "arguments": {"zone": "Europe/Paris"}}
REPORT = "It is 21 degrees in Paris."
PERSON = {"name": "Ada Lovelace", "age": 36}
NUMBERS = " ".join(str(number) for number in range(8000))

#: ChatML with tools as Hermes and Qwen have them, and reasoning between tags.
TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Answer with <tool_call>{"name": NAME, "arguments": OBJECT}</tool_call>.<|im_end|>
{% endif -%}
{%- for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['role'] == 'tool' %}<tool_response>{{ message['content'] }}</tool_response>
{%- else -%}
{%- if message['reasoning_content'] %}<think>{{ message['reasoning_content'] }}</think>{% endif -%}
{{ message['content'] }}
{%- for call in message['tool_calls'] or () %}<tool_call>
{%- set made = call['function'] %}
{"name": "{{ made['name'] }}", "arguments": {{ made['arguments'] | tojson }}}
</tool_call>{% endfor -%}
{%- endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""


def call(*calls: dict[str, Any]) -> str:
    """Write calls as the model does."""
    return "\n".join(f"<tool_call>\n{json.dumps(each)}\n</tool_call>" for each in calls)


RULES = {
    "": GREETING,
    "weather in Paris": call(WEATHER_CALL),
    "weather and time in Paris": "Let me look.\n" + call(WEATHER_CALL, TIME_CALL),
    "<tool_response>": REPORT,
    "meaning of life": f"<think>{THOUGHT}</think>{ANSWER}",
    "as JSON": json.dumps(PERSON),
    "as a call": call({"name": "Person", "arguments": PERSON}),
    "Count": NUMBERS,
    "Repeat: ": "naïve façade — 東京 🌍 Привет",
}


def script(rules: dict[str, str]) -> str:
    """Return the rules as ``script.json`` has them."""
    return json.dumps([{"when": when, "say": say} for when, say in rules.items()])
