"""Every dialect's stream joins to its whole object, is well formed, ends once, and fails loudly."""

from __future__ import annotations

import pytest

from tests.unit.dialects.encoder_mutants import Mutant
from tests.unit.dialects.encoder_properties import Subject, check
from tests.unit.dialects.mutant_cases import CASES, Case
from tests.unit.dialects.streamed_dialects import DIALECTS, Dialect

EXAMPLES = 120


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_streams_hold_what_clients_rely_on(dialect: Dialect) -> None:
    check(Subject(dialect, dialect.make), EXAMPLES)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_an_encoder_that_changes_nothing_is_as_good(dialect: Dialect) -> None:
    """What the mutants share is none of their mistakes."""
    check(Subject(dialect, lambda asked: Mutant(dialect.make(asked))), EXAMPLES // 10)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.dialect}-{case.name}")
def test_an_encoder_with_a_mistake_is_found_out(case: Case) -> None:
    with pytest.raises(AssertionError):
        check(case.subject, EXAMPLES)
