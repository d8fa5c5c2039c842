"""docs/decisions/0020-acceptance-list.md names tests that exist, for every id."""

from __future__ import annotations

import re
from pathlib import Path

from tests.document_tables import rows

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs/decisions/0020-acceptance-list.md"
LENGTHS = {"A": 3, "E": 4, "G": 9, "H": 2, "I": 6, "J": 3, "M": 2, "N": 7, "P": 7, "R": 6}


def test_every_id_has_its_line() -> None:
    ids = [f"{kind}{n:02}" for kind, length in LENGTHS.items() for n in range(1, length + 1)]
    assert list(rows(DOCUMENT.read_text())) == ids


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text()))
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert named - there == set()


def test_what_applies_is_shown_by_a_test() -> None:
    lines = rows(DOCUMENT.read_text()).items()
    assert [id_ for id_, (_, shown) in lines if not shown] == [f"I0{n}" for n in range(1, 7)]
