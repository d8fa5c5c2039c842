"""All cases, and one run of them against a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from cortex_actors.cli.conformance import (
    chat_answers,
    chat_errors,
    chat_streams,
    chat_tools,
    messages_cases,
    responses_cases,
    stream_ends,
)
from cortex_actors.cli.conformance.case import Case, NotOffered, Unmet, Verdict
from cortex_actors.cli.conformance.server import NoAnswer, Server
from transports.clock import Clock

CASES: Final = (
    *chat_answers.CASES,
    *chat_streams.CASES,
    *chat_tools.CASES,
    *chat_errors.CASES,
    *messages_cases.CASES,
    *responses_cases.CASES,
    *stream_ends.CASES,
)
DIALECTS: Final = tuple(dict.fromkeys(case.dialect for case in CASES))


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one case, why, and how long it took."""

    case: Case
    verdict: Verdict
    why: str
    seconds: float


def run(server: Server, chosen: tuple[Case, ...], clock: Clock) -> Iterator[Finding]:
    """Check one case after the other."""
    for case in chosen:
        began = clock.now()
        verdict, why = _judge(server, case)
        yield Finding(case, verdict, why, clock.now() - began)


def _judge(server: Server, case: Case) -> tuple[Verdict, str]:
    try:
        case.check(server)
    except NotOffered as error:
        return Verdict.NOT_OFFERED, str(error)
    except (Unmet, NoAnswer) as error:
        return Verdict.FAILED, str(error)
    return Verdict.PASSED, ""
