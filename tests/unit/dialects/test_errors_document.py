"""docs/errors.md says what the code does."""

from __future__ import annotations

import ast
from pathlib import Path

from cortex_actors.dialects.anthropic.errors import error_type
from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.error_table import ERROR_TABLE
from tests.document_tables import rows
from transports.failures import FailureCode
from transports.schemas.link import Failure

ROOT = Path(__file__).parents[3]
PLACES = ("cortex_actors/dialects", "cortex_actors/http")
OF_THE_TABLE = "invalid_request"


def tables() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the rows of both tables by code, without the code."""
    failures, refusals = (ROOT / "docs/errors.md").read_text().split("## Requests")
    return rows(failures), rows(refusals)


def test_every_failure_is_documented_as_it_is_answered() -> None:
    documented, _ = tables()
    assert set(documented) == {code.value for code in FailureCode}
    for code, row in ERROR_TABLE.items():
        status, openai, anthropic, retry, after, meaning, remedy = documented[code]
        assert int(status) == row.status
        assert openai == row.type
        assert anthropic == error_type(ApiError.from_failure(Failure(code, "x")))
        assert retry == ("yes" if row.retryable else "no")
        assert after == ("" if row.retry_after_s is None else f"{row.retry_after_s:g}")
        assert meaning
        assert remedy


def refusals_in_the_code() -> dict[str, int]:
    """Collect the codes of all ``ApiError``s that are made on the spot, with their status."""
    found = {}
    for place in PLACES:
        for path in (ROOT / place).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    found.update(_made(node))
    return found


def _made(call: ast.Call) -> dict[str, int]:
    texts = [each.value if isinstance(each, ast.Constant) else None for each in call.args]
    match ast.unparse(call.func), texts:
        case "ApiError", [int(status), str(code), *_]:
            return {code: status}
        case "ApiError.invalid", [_, _, str(code)]:
            return {code: 400}
    return {}


def test_every_refusal_is_documented_with_its_status() -> None:
    _, documented = tables()
    made = refusals_in_the_code()
    assert len(made) > 8, "the search finds nothing any more"
    made.pop(OF_THE_TABLE, None)
    assert {code: int(cells[0]) for code, cells in documented.items()} == made
