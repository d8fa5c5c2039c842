"""How the output of one request is read: which parser, which tokens are shown, which ids."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from functools import partial

from neuron_runtime.engine.output_text import OutputText
from neuron_runtime.engine.tokenizer import Tokenizer
from transports.schemas.generate import Generate

_TAIL_TOKENS = 16
"""Enough of a prompt's end to hold any tag that opens reasoning."""

_ID_ALPHABET = string.ascii_letters + string.digits


def output_text_of(
    tokenizer: Tokenizer, question: Generate, prompt: Sequence[int], choice: int = 0
) -> OutputText:
    """Return the reader of ``choice``'s output; ``prompt`` is the rendered prompt's ids.

    A completion of a bare ``prompt`` is text as it stands. In a chat, reasoning is told apart
    whenever the model marks it, and calls when tools are offered and may be called.
    """
    stops = question.sampling.stop
    if question.prompt is not None:
        return OutputText(tokenizer, stops, choice=choice)
    tools = question.tools if question.tool_choice != "none" else ()
    format_ = tokenizer.output_format
    return OutputText(
        tokenizer,
        stops,
        format_.parser(tokenizer.decode_all(prompt[-_TAIL_TOKENS:]), tools),
        visible=tokenizer.visible(format_.markers(tools=bool(tools))),
        choice=choice,
        parallel=question.parallel_tool_calls,
        draw_id=partial(_draw_id, *format_.calls.call_id),
    )


def _draw_id(prefix: str, length: int) -> str:
    return prefix + "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))
