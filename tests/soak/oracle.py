"""What an undisturbed fleet with the fake backend answers. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenizers import Tokenizer

from neuron_runtime.backends.fake import fake_token
from tests.unit.engine.tiny_model import FAKE_WORDS, make_tokenizer
from transports.schemas.group import SampleParams

MODEL = "soak"


@dataclass(frozen=True, slots=True)
class Question:
    """One chat request. ``seed`` None is greedy."""

    text: str
    tokens: int
    seed: int | None

    @classmethod
    def drawn(cls, rng: random.Random, number: int) -> Question:
        """Draw one; its text is not asked twice, so no two answers are alike."""
        tokens = rng.choice((1, 8, 30, 60, 120, 300))
        words = " ".join(str(rng.randrange(10_000)) for _ in range(rng.choice((1, 5, 40))))
        seed = rng.randrange(1 << 30) if rng.random() < 0.4 else None
        return cls(f"{number}: {words}", tokens, seed)

    def body(self, *, stream: bool) -> dict[str, Any]:
        """The JSON body of the request."""
        body: dict[str, Any] = {
            "model": MODEL,
            "messages": [{"role": "user", "content": self.text}],
            "max_tokens": self.tokens,
            "temperature": 0.0 if self.seed is None else 0.9,
            "stream": stream,
        }
        if self.seed is not None:
            body["seed"] = self.seed
        if stream:
            body["stream_options"] = {"include_usage": True}
        return body

    def answer(self) -> str:
        """The text that every one of its tokens must make up."""
        rendered = f"<|im_start|>user\n{self.text}<|im_end|>\n<|im_start|>assistant\n"
        fed = list(_tokenizer().encode(rendered, add_special_tokens=False).ids)
        words = []
        for index in range(self.tokens):
            params = None
            if self.seed is not None:
                params = SampleParams(temperature=0.9, seed=self.seed, index=index)
            token = fake_token(fed, params)
            words.append(f" w{token}")
            fed.append(token)
        return "".join(words)


@cache
def _tokenizer() -> Tokenizer:
    return make_tokenizer(FAKE_WORDS)
