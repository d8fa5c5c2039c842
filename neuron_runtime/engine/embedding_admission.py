"""Turning an Embed into a job, or into a refusal that says what is wrong with it. Pure.

It goes in steps, because tokens take time: ``check``, then ``tokens`` for a slice of the inputs
after another, with ``check_total`` after each, then ``job``.

The front end has checked the same fields already; an engine trusts no peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

from neuron_runtime.engine.embedding_facts import EmbeddingFacts
from neuron_runtime.engine.embedding_job import EmbeddingJob
from neuron_runtime.engine.embedding_tokenizer import EmbeddingTokenizer
from neuron_runtime.engine.refused import Refused
from transports.failures import FailureCode
from transports.schemas.generate import Embed
from transports.schemas.link import Failure

MAX_INPUTS = 2048
MAX_TOKENS = 300_000
"""Over all inputs of one request; both are OpenAI's own limits."""

_CHARACTERS_PER_TOKEN = 64
"""More than any text has but one of blanks or of one endless word; what is longer is not even
tokenized."""


@final
class EmbeddingAdmission:
    """What is checked before a request may queue. Engine's thread only, except for ``tokens``.

    ``context_length`` may be set anew when the ranks have told theirs.
    """

    def __init__(self, model: str, tokenizer: EmbeddingTokenizer, facts: EmbeddingFacts) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._vocabulary = facts.vocabulary
        self._dimensions = facts.dimensions
        self.context_length = facts.context_length
        self._last_id = 0

    @classmethod
    def load(cls, model: str, model_dir: Path) -> EmbeddingAdmission:
        """Read what there is to check in the files of ``model``.

        Raises:
            TokenizerError: The tokenizer is missing or not readable.
            ModelFilesError: Another file is, or asks for what is not supported.
        """
        return cls(model, EmbeddingTokenizer.load(model_dir), EmbeddingFacts.load(model_dir))

    def check(self, question: Embed) -> None:
        """Check all that can be checked without tokens.

        Raises:
            Refused: With the failure code and the offending field.
        """
        if question.model != self._model:
            message = f"this engine serves '{self._model}', not '{question.model}'"
            raise Refused(Failure(FailureCode.MODEL_NOT_FOUND, message, param="model"))
        count, dimensions = len(question.inputs), question.dimensions
        if not 1 <= count <= MAX_INPUTS:
            raise _invalid("input", f"must hold 1 to {MAX_INPUTS} inputs, not {count}")
        if dimensions is not None and dimensions < 1:
            raise _invalid("dimensions", "must be at least 1")
        if dimensions is not None and self._dimensions and dimensions > self._dimensions:
            raise _invalid("dimensions", f"the model's vectors have only {self._dimensions}")
        for number, each in enumerate(question.inputs):
            if not each:
                raise _invalid("input", f"input {number} is empty")
            if isinstance(each, tuple):
                self._check_ids(number, each)
            elif self.context_length and len(each) > self.context_length * _CHARACTERS_PER_TOKEN:
                raise self._too_long(number, f"{len(each)} characters")

    def tokens(self, question: Embed, start: int, stop: int) -> list[tuple[int, ...]]:
        """Return the tokens of the inputs from ``start`` to before ``stop``. Any thread.

        Raises:
            Refused: One of them has too many, or none.
        """
        inputs = question.inputs[start:stop]
        encoded = iter(self._tokenizer.encode([each for each in inputs if isinstance(each, str)]))
        found = [next(encoded) if isinstance(each, str) else each for each in inputs]
        for number, tokens in enumerate(found, start):
            if not tokens:
                raise _invalid("input", f"input {number} has no tokens")
            if self.context_length is not None and len(tokens) > self.context_length:
                raise self._too_long(number, f"{len(tokens)} tokens")
        return found

    def check_total(self, tokens: int) -> None:
        """Check how many tokens a request has over all inputs.

        Raises:
            Refused: They are too many.
        """
        if tokens > MAX_TOKENS:
            raise _invalid("input", f"more than {MAX_TOKENS} tokens in one request")

    def job(
        self,
        question: Embed,
        inputs: Sequence[tuple[int, ...]],
        now: float,
        deadline: float | None,
    ) -> EmbeddingJob:
        """Return the job that answers ``question``, whose tokens are ``inputs``."""
        self._last_id += 1
        return EmbeddingJob(
            self._last_id, tuple(inputs), question.dimensions, deadline, now, question.principal
        )

    def _check_ids(self, number: int, tokens: tuple[int, ...]) -> None:
        highest = None if self._vocabulary is None else self._vocabulary - 1
        if min(tokens) < 0 or (highest is not None and max(tokens) > highest):
            known = "below 0" if highest is None else f"outside of 0 to {highest}"
            raise _invalid("input", f"input {number} has a token id {known}")

    def _too_long(self, number: int, size: str) -> Refused:
        return Refused(
            Failure(
                FailureCode.CONTEXT_LENGTH_EXCEEDED,
                f"This model's maximum context length is {self.context_length} tokens, but input"
                f" {number} has {size}. Please shorten it.",
                param="input",
            )
        )


def _invalid(param: str, message: str) -> Refused:
    return Refused(Failure(FailureCode.INVALID_REQUEST, f"{param}: {message}", param=param))
