from __future__ import annotations

from itertools import takewhile
from typing import Any

import pytest

from cortex_actors.http.prompt_prefix import BLOCK_BYTES, prefix_hashes, prompt_bytes
from transports.schemas.generate import Generate

SHARED = "Once upon a time. " * 300
BLOCKS = len(SHARED) // BLOCK_BYTES - 1
TOOL = {"type": "function", "function": {"name": "look", "description": "Look it up."}}


def said(*contents: Any) -> Generate:
    roles = ("user", "assistant")
    messages = [
        {"role": roles[number % 2], "content": content} for number, content in enumerate(contents)
    ]
    return Generate("id", "m", messages)


def shared_blocks(one: Generate, other: Generate) -> int:
    pairs = zip(*(prefix_hashes(prompt_bytes(each)) for each in (one, other)), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (said(SHARED + "Who?"), said(SHARED + "And what became of them in the end?" * 9)),
        (said(SHARED), said(SHARED, "The end.", "Go on." * 99)),
        (
            said([{"type": "text", "text": SHARED + "Who?"}]),
            said([{"type": "text", "text": SHARED}, {"type": "text", "text": "Where?" * 50}]),
        ),
        (Generate("a", "m", [], prompt=SHARED), Generate("b", "m", [], prompt=SHARED + "Go on")),
        (
            Generate("a", "m", [], prompt=tuple(range(2000))),
            Generate("b", "m", [], prompt=tuple(range(2222))),
        ),
    ],
    ids=["one message", "more turns", "parts", "text", "tokens"],
)
def test_prompts_that_begin_alike_share_the_blocks_of_their_beginning(
    one: Generate, other: Generate
) -> None:
    assert shared_blocks(one, other) >= BLOCKS


@pytest.mark.parametrize(
    "other",
    [said("x" + SHARED), Generate("id", "m", said(SHARED).messages, tools=(TOOL,))],
    ids=["another beginning", "with tools"],
)
def test_prompts_that_begin_otherwise_share_nothing(other: Generate) -> None:
    assert shared_blocks(said(SHARED), other) == 0
