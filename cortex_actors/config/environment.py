"""Settings from the environment, laid over a file's: ``CORTEX__GATEWAY__LISTEN=0.0.0.0:80``.

A variable is the daemon's prefix and a key path, joined by two underscores. neurond's own section
may be left out (``NEURON__LISTEN``), and ``…__PORT`` replaces only the port of its ``listen``.
Lists, numbers, true, false and null are written as YAML; a relative path is relative to the working
directory.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, final, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cortex_actors.config.document import KeyPath
from cortex_actors.config.errors import Problem
from cortex_actors.config.fields import expand_path

ENVIRONMENT = "environment"
_YAML: Final = frozenset({bool, int, float, tuple, dict, NoneType})


@final
@dataclass(frozen=True, slots=True)
class Overlay:
    """A file's values with the environment laid over them.

    ``variables`` names the variable behind each key path that was set from outside.
    """

    data: dict[str, Any]
    variables: dict[KeyPath, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def overlay(
    data: dict[str, Any], schema: type[BaseModel], environ: Mapping[str, str], prefix: str
) -> Overlay:
    """Lay every ``PREFIX__…`` variable over ``data``; those that cannot be are problems."""
    merged = copy.deepcopy(data)
    variables: dict[KeyPath, str] = {}
    problems: list[Problem] = []
    for variable in sorted(name for name in environ if name.startswith(f"{prefix}__")):
        try:
            at = _lay(merged, schema, _key_path(variable, schema, prefix), environ[variable])
        except (ValueError, yaml.YAMLError) as error:
            problems.append(Problem(ENVIRONMENT, " ".join(str(error).split()), variable))
        else:
            variables[at] = variable
    return Overlay(merged, variables, tuple(problems))


def _key_path(variable: str, schema: type[BaseModel], prefix: str) -> tuple[str, ...]:
    keys = tuple(variable.removeprefix(f"{prefix}__").lower().split("__"))
    own_section, known = prefix.lower(), schema.model_fields
    return keys if keys[0] in known or own_section not in known else (own_section, *keys)


def _lay(
    data: dict[str, Any], schema: type[BaseModel], at: tuple[str, ...], text: str
) -> tuple[str, ...]:
    """Set the value and return the key path it went to."""
    *sections, key = at
    for name in sections:
        schema = _section(schema, name)
        inner = data.setdefault(name, {})
        if not isinstance(inner, dict):
            return tuple(sections)  # the schema says what is wrong with it
        data = inner
    fields = schema.model_fields
    if key == "port" and "port" not in fields and "listen" in fields:
        host = str(data.get("listen", fields["listen"].default)).rpartition(":")[0]
        data["listen"] = f"{host}:{text}"
        return (*sections, "listen")
    data[key] = _value(fields.get(key), text)
    return at


def _section(schema: type[BaseModel], name: str) -> type[BaseModel]:
    known = schema.model_fields.get(name)
    section: Any = None if known is None else known.annotation
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        raise ValueError(f"there is no section '{name}'")  # noqa: TRY004 - a wrong name
    return section


def _value(known: FieldInfo | None, text: str) -> Any:
    kinds = frozenset() if known is None else _kinds(known.annotation)
    if text == "null" and NoneType in kinds:
        return None
    if Path in kinds and text and text != "auto":
        return str(expand_path(text, Path.cwd()))
    return yaml.safe_load(text) if kinds and kinds <= _YAML else text


def _kinds(annotation: Any) -> frozenset[Any]:
    """Return the types of the values that a key may have: ``int`` and None for ``Count | None``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return frozenset().union(*map(_kinds, get_args(annotation)))
    return frozenset({origin or annotation})
