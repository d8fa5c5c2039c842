"""``cortexd conformance URL``: check a server's APIs and print what it keeps to."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from typing import Any

from rich.text import Text

from cortex_actors.cli.conformance.case import Case, Verdict
from cortex_actors.cli.conformance.server import NoAnswer, Server
from cortex_actors.cli.conformance.suite import CASES, DIALECTS, Finding, run
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.tables import make_console, make_table
from cortex_actors.cli.url_argument import http_url
from transports.clock import MonotonicClock

_COLOURS = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.NOT_OFFERED: "yellow"}


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``conformance`` to ``cortexd``."""
    parser = commands.add_parser("conformance", help="check a server's OpenAI and Anthropic APIs")
    parser.add_argument("url", type=http_url, help="the server's base address, with or without /v1")
    parser.add_argument("--model", default="", help="default: the first that the server lists")
    parser.add_argument("--only", action="append", choices=DIALECTS, help="one API (repeat)")
    parser.add_argument("--case", default="", metavar="TEXT", help="cases whose name has TEXT")
    parser.add_argument("--api-key", default="", help="default: OPENAI_API_KEY")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds of silence allowed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> int:
    chosen = tuple(
        case
        for case in CASES
        if (not args.only or case.dialect in args.only) and args.case in case.name
    )
    key = args.api_key or os.environ.get("OPENAI_API_KEY", "")
    with Server(args.url, args.model, key, args.timeout) as server:
        findings = _findings(server, chosen)
    if args.json:
        print(json.dumps(_report(args.url, server, findings), indent=2))
    else:
        _show(findings)
    return int(any(finding.verdict is not Verdict.PASSED for finding in findings))


def _findings(server: Server, chosen: tuple[Case, ...]) -> list[Finding]:
    try:
        server.find_model()
    except NoAnswer as error:
        raise GatewayError(str(error)) from error
    findings: list[Finding] = []
    with make_console(stderr=True).status("asking") as status:
        for finding in run(server, chosen, MonotonicClock()):
            findings.append(finding)
            status.update(f"{len(findings)} of {len(chosen)}")
    return findings


def _show(findings: list[Finding]) -> None:
    table = make_table("API", "CASE", "RESULT", "WHY")
    for finding in findings:
        table.add_row(
            finding.case.dialect,
            finding.case.name,
            Text(finding.verdict.value, style=_COLOURS[finding.verdict]),
            finding.why,
        )
    console = make_console()
    console.print(table)
    counts = Counter(finding.verdict for finding in findings)
    console.print(", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict))


def _report(url: str, server: Server, findings: list[Finding]) -> dict[str, Any]:
    return {
        "url": url,
        "model": server.model,
        "cases": [
            {
                "dialect": finding.case.dialect,
                "case": finding.case.name,
                "result": finding.verdict.value,
                "why": finding.why,
                "seconds": round(finding.seconds, 3),
            }
            for finding in findings
        ],
    }
