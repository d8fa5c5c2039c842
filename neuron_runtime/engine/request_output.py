"""How the output of one request is read: which parser, which tokens are shown, which ids."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from neuron_runtime.engine.output_text import OutputText
from neuron_runtime.engine.parsers.argument_types import properties_of
from neuron_runtime.engine.parsers.call_grammar import call_grammar
from neuron_runtime.engine.tokenizer import Tokenizer
from transports.schemas.generate import Generate

_TAIL_TOKENS = 16
"""Enough of a prompt's end to hold any tag that opens reasoning, and a word to go on from."""

_ID_ALPHABET = string.ascii_letters + string.digits


def output_text_of(
    tokenizer: Tokenizer, question: Generate, prompt: Sequence[int], choice: int = 0
) -> OutputText:
    """Return the reader of ``choice``'s output; ``prompt`` is the rendered prompt's ids.

    A completion of a bare ``prompt`` is text as it stands. In a chat, reasoning is told apart
    whenever the model marks it, and calls when tools are offered and may be called.
    """
    stops, tail = question.sampling.stop, prompt[-_TAIL_TOKENS:]
    if question.prompt is not None:
        return OutputText(tokenizer, stops, before=tail, choice=choice)
    tools = question.tools if question.tool_choice != "none" else ()
    format_ = tokenizer.output_format
    return OutputText(
        tokenizer,
        stops,
        format_.parser(tokenizer.decode_all(tail), tools),
        visible=tokenizer.visible(format_.markers(tools=bool(tools))),
        before=tail if question.continue_final else (),
        choice=choice,
        parallel=question.parallel_tool_calls,
        draw_id=partial(_draw_id, *format_.calls.call_id),
    )


def call_grammar_of(
    tokenizer: Tokenizer, question: Generate, answer: str | None = None
) -> str | None:
    """Return the grammar that forces the calls that ``question`` demands; None if it demands none.

    It applies once ``OutputText.in_reasoning`` is over, and is written for llguidance, in Lark.
    ``answer`` is the body of the rule that the request's own constraint makes: where calls are
    offered but not demanded, the output is either calls or that.

    Raises:
        ValueError: An offered tool has no name, or none has the one that is demanded, or the
            model's format of calls cannot be demanded.
    """
    choice = question.tool_choice
    if not question.tools or choice == "none" or (choice == "auto" and answer is None):
        return None
    tools: Sequence[Mapping[str, Any]] = question.tools
    if len(properties_of(question.tools)) != len(tools):
        msg = "every tool must be a function with a name of its own"
        raise ValueError(msg)
    if choice not in {"auto", "required"}:
        tools = [tool for tool in tools if tool["function"]["name"] == choice]
        if not tools:
            msg = f"no tool is called {choice!r}"
            raise ValueError(msg)
    format_ = tokenizer.output_format
    visible = tokenizer.visible(format_.markers(tools=True))
    return call_grammar(
        format_.calls.name,
        tools,
        parallel=question.parallel_tool_calls,
        special={text: token for token, text in visible.items()},
        answer=answer if choice == "auto" else None,
        around=format_.calls.around,
    )


def _draw_id(prefix: str, length: int) -> str:
    return prefix + "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))
