"""Chat templates in the manner of well-known families, with all that theirs make use of.

``smollm2`` is that model's own, which knows no tools.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("qwen", "qwen_coder", "llama", "mistral", "smollm2")

_FOLDER = Path(__file__).parent / "templates"


def template(name: str) -> str:
    return (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
