"""The object that describes the API itself."""

from __future__ import annotations

from typing import Any, Literal

from cortex_actors.dialects.answer_object import AnswerObject


class ApiInfo(AnswerObject):
    """Which API a document describes."""

    title: str
    version: str


class ApiDocument(AnswerObject):
    """A description of all routes, as the OpenAPI Initiative specifies it."""

    openapi: Literal["3.1.0"]
    info: ApiInfo
    paths: dict[str, dict[str, Any]]
    components: dict[str, dict[str, Any]]
    security: list[dict[str, list[str]]]
