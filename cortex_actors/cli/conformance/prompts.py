"""What the cases ask for; the same in all dialects."""

from __future__ import annotations

from typing import Any, Final

GREETING: Final = "Say hello to a new colleague."
COUNT: Final = "Count from one to five hundred, in words."
WEATHER: Final = "What is the weather in Paris?"
PERSON: Final = "Ada Lovelace is 36 years old. Describe her as JSON with name and age."
FOREIGN: Final = "Repeat: naïve façade — 東京 🌍 Привет"

SHORT: Final = 24
"""Output tokens that are enough for most cases."""

WEATHER_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 40}},
    "required": ["city"],
    "additionalProperties": False,
}
PERSON_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


def too_long(context: int) -> str:
    """Return a prompt that no model with ``context`` tokens can take."""
    return "far " * (context + context // 4)


def is_person(value: Any) -> bool:
    """Say whether ``value`` is what PERSON_SCHEMA describes."""
    return (
        isinstance(value, dict)
        and set(value) == {"name", "age"}
        and isinstance(value["name"], str)
        and isinstance(value["age"], int)
        and not isinstance(value["age"], bool)
    )


def names_a_city(value: Any) -> bool:
    """Say whether ``value`` is what WEATHER_SCHEMA describes."""
    return isinstance(value, dict) and set(value) == {"city"} and isinstance(value["city"], str)
