"""What is wrong with a configuration: every problem at once, each with its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: where it stands (file or environment variable, key path, line) and why."""

    source: str
    message: str
    key: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


KeyedMessage = tuple[str, str]
"""A dotted key and what is wrong with it."""


@final
class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` holds all of what was found, in file order."""

    code = "config"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
