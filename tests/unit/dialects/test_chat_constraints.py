"""The ways to say in a chat what the answer must be."""

from __future__ import annotations

from typing import Any

import pytest

from cortex_actors.dialects.openai.chat_request import ChatRequest
from transports.schemas.generate import Constraint

USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"z": {}, "a": {}}}
SCHEMA_TEXT = '{"type":"object","properties":{"z":{},"a":{}}}'


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Constraint("json_object")),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
                }
            },
            Constraint("json_schema", SCHEMA_TEXT),
        ),
        (
            {"response_format": {"type": "json_object", "schema": SCHEMA}},
            Constraint("json_schema", SCHEMA_TEXT),
        ),
        (
            {"response_format": {"type": "json_schema", "schema": SCHEMA}},
            Constraint("json_schema", SCHEMA_TEXT),
        ),
        ({"response_format": {"type": "json_object", "schema": {}}}, Constraint("json_object")),
        ({"guided_json": SCHEMA}, Constraint("json_schema", SCHEMA_TEXT)),
        ({"guided_json": SCHEMA_TEXT}, Constraint("json_schema", SCHEMA_TEXT)),
        ({"guided_regex": "[a-z]+"}, Constraint("regex", "[a-z]+")),
        ({"guided_choice": ["yes", "nö"]}, Constraint("choice", '["yes","nö"]')),
        ({"structured_outputs": {"json": SCHEMA}}, Constraint("json_schema", SCHEMA_TEXT)),
        ({"structured_outputs": {"json_object": True}}, Constraint("json_object")),
        ({"structured_outputs": {"choice": ["a"]}}, Constraint("choice", '["a"]')),
    ],
    ids=str,
)
def test_each_way_to_constrain_means_one_constraint(
    fields: dict[str, Any], wanted: Constraint | None
) -> None:
    chat = ChatRequest.parse({"model": "tiny", "messages": [USER], **fields})
    assert chat.to_generate("r").constraint == wanted
