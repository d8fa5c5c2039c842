"""Request bodies, checked field by field; the refusal names the first field that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import msgspec
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from cortex_actors.dialects.api_error import ApiError


def bad(message: str, at: str = "") -> PydanticCustomError:
    """Return the error of a bad value; ``at`` says where inside the field, as ``.x`` or ``[2]``."""
    return PydanticCustomError("bad", "{message}", {"message": message, "at": at})


def unsupported(what: str, at: str = "") -> PydanticCustomError:
    """Return the error of a value that would change the answer and is not honoured."""
    context = {"what": what, "at": at}
    return PydanticCustomError("unsupported", "{what} is not supported", context)


class CheckedRequest(BaseModel):
    """Base of the bodies. Unknown fields are accepted and have no effect.

    A field that would change the answer and cannot be honoured is refused, never ignored.
    """

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset()
    """Fields that are known and checked, and change nothing."""

    _body: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        """Check a decoded body.

        Raises:
            ApiError: 400; ``param`` names the first field that cannot be accepted.
        """
        cls._refuse(body)
        try:
            request = cls.model_validate(body)
        except ValidationError as ex:
            raise _refusal(ex.errors(include_url=False)[0]) from ex
        _refuse_unsendable(body)
        request._body = body
        request._check_together()
        return request

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Names of the fields that have no effect, as they were sent: ``a``, or ``a.b`` within one.

        Messages and tools are not looked into: a chat template may show what is in them.
        """
        return tuple(_without_effect(self, self._body))

    def param_of(self, field: str) -> str:
        """Return the name that clients know a field of the engine's question by."""
        return field

    @classmethod
    def _refuse(cls, body: dict[str, Any]) -> None:
        """Refuse what is not honoured, whatever it says."""

    def _check_together(self) -> None:
        """Check what several fields must agree on."""


def _without_effect(model: BaseModel, sent: Mapping[str, Any], within: str = "") -> Iterator[str]:
    known = {field.alias or name: name for name, field in type(model).model_fields.items()}
    silent: frozenset[str] = getattr(model, "WITHOUT_EFFECT", frozenset())
    for name, value in sent.items():
        if name not in known or (name in silent and value is not None):
            yield within + name
        elif isinstance(value, dict):
            checked = getattr(model, known[name])
            if isinstance(checked, BaseModel):
                yield from _without_effect(checked, value, f"{within}{name}.")


def _refuse_unsendable(body: dict[str, Any]) -> None:
    """Refuse what no message to an engine can hold, wherever it is in what passes through."""
    for name, value in body.items():
        try:
            msgspec.msgpack.encode(value)
        except (OverflowError, RecursionError) as ex:
            message = f"{name}: holds a number that is too large, or is nested too deeply"
            raise ApiError.invalid(message, name, "invalid_value") from ex


def _refusal(error: ErrorDetails) -> ApiError:
    param = _param(error["loc"]) + str(error.get("ctx", {}).get("at", ""))
    if error["type"] == "missing":
        return ApiError.invalid(f"{param} is required", param, "missing_required_parameter")
    code = "unsupported_parameter" if error["type"] == "unsupported" else "invalid_value"
    return ApiError.invalid(f"{param}: {error['msg']}", param, code)


def _param(loc: tuple[int | str, ...]) -> str:
    name = ""
    for part in loc:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name
