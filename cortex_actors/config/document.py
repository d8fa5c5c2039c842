"""A YAML file with the line of every key, so that a complaint can say where to look.

Only plain YAML is read (no tags that build objects). Duplicate keys, which YAML itself lets pass in
silence, are problems here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import yaml
from yaml.constructor import SafeConstructor

from cortex_actors.config.errors import ConfigError, Problem

KeyPath = tuple[str | int, ...]

_MAX_BYTES = 1 << 20
_MAX_NODES = 20_000  # aliases can make a small file expand without end
_MAX_DEPTH = 32


@final
@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file: its values, and the line (from 1) at which each key path starts."""

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def problem(self, at: KeyPath, message: str) -> Problem:
        """Return a problem placed at the nearest key that the file really contains."""
        known = next((at[:end] for end in range(len(at), 0, -1) if at[:end] in self.lines), ())
        return Problem(str(self.path), message, dotted(at), self.lines.get(known))


def dotted(at: KeyPath) -> str:
    """Return a key path as people write it: ``neurons[0].endpoint``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at)
    return text.removeprefix(".")


def read_document(path: Path) -> Document:
    """Read and parse one file; an empty file is an empty mapping.

    Raises:
        ConfigError: The file is missing, unreadable, too large, not YAML, or not a mapping.
    """
    text = _read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return Document(path, {})
        if not isinstance(node, yaml.MappingNode):
            raise _refused(path, "must be a mapping of keys to values", node.start_mark.line + 1)
        lines: dict[KeyPath, int] = {}
        problems = _index(path, node, lines)
        data = SafeConstructor().construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise _refused(path, f"invalid YAML: {error.problem or error.context}", line) from error
    except RecursionError as error:
        raise _refused(path, "invalid YAML: nested too deep") from error
    except (yaml.YAMLError, ValueError) as error:
        raise _refused(path, f"invalid YAML: {error}") from error
    return Document(path, data, lines, problems)


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise _refused(path, "no such file") from None
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise _refused(path, f"is larger than {_MAX_BYTES >> 20} MiB; that is no configuration")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _refused(path, f"is not UTF-8 at byte {error.start}") from error


def _refused(path: Path, message: str, line: int | None = None) -> ConfigError:
    return ConfigError([Problem(str(path), message, line=line)])


def _index(path: Path, root: yaml.Node, lines: dict[KeyPath, int]) -> tuple[Problem, ...]:
    """Fill ``lines`` and return the duplicate keys."""
    problems: list[Problem] = []
    pending: list[tuple[KeyPath, yaml.Node]] = [((), root)]
    visited = 0
    while pending:
        at, node = pending.pop()
        visited += 1
        if visited > _MAX_NODES or len(at) > _MAX_DEPTH:
            raise _refused(path, "aliases expand without end", node.start_mark.line + 1)
        for key, key_node, value in _children(node):
            here = (*at, key)
            line = key_node.start_mark.line + 1
            if here in lines:
                first = lines[here]
                message = f"the key is here twice (first in line {first})"
                problems.append(Problem(str(path), message, dotted(here), line))
            else:
                lines[here] = line
                pending.append((here, value))
    return tuple(sorted(problems, key=lambda problem: problem.line or 0))


def _children(node: yaml.Node) -> Iterator[tuple[str | int, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                yield key.value, key, value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield index, item, item
