"""Turning an Embed into a job, or into a refusal that says what is wrong with it. Pure.

The front end has checked the same fields already; an engine trusts no peer.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

from neuron_runtime.engine.admission import Refused
from neuron_runtime.engine.embedding_facts import EmbeddingFacts
from neuron_runtime.engine.embedding_job import EmbeddingJob
from neuron_runtime.engine.embedding_tokenizer import EmbeddingTokenizer
from transports.failures import FailureCode
from transports.schemas.generate import Embed
from transports.schemas.link import Failure

MAX_INPUTS = 2048
MAX_TOKENS = 300_000
"""Over all inputs of one request; both are OpenAI's own limits."""

_MOST_BYTES_PER_TOKEN = 64


@final
class EmbeddingAdmission:
    """What is checked before a request may queue. Engine's thread only.

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

    def admit(self, question: Embed, now: float, deadline: float | None) -> EmbeddingJob:
        """Return the job that answers ``question``.

        Raises:
            Refused: With the failure code and the offending field.
        """
        if question.model != self._model:
            message = f"this engine serves '{self._model}', not '{question.model}'"
            raise Refused(Failure(FailureCode.MODEL_NOT_FOUND, message, param="model"))
        self._check(question)
        inputs = self._inputs(question)
        self._check_lengths(inputs)
        self._last_id += 1
        return EmbeddingJob(self._last_id, inputs, question.dimensions, deadline, now)

    def _check(self, question: Embed) -> None:
        count, dimensions = len(question.inputs), question.dimensions
        if not 1 <= count <= MAX_INPUTS:
            raise _invalid("input", f"must hold 1 to {MAX_INPUTS} inputs, not {count}")
        if not all(question.inputs):
            empty = next(n for n, each in enumerate(question.inputs) if not each)
            raise _invalid("input", f"input {empty} is empty")
        if dimensions is not None and dimensions < 1:
            raise _invalid("dimensions", "must be at least 1")
        if dimensions is not None and self._dimensions and dimensions > self._dimensions:
            raise _invalid("dimensions", f"the model's vectors have only {self._dimensions}")
        size = sum(len(each) for each in question.inputs)
        if size > MAX_TOKENS * _MOST_BYTES_PER_TOKEN:
            raise _too_much(f"{size} characters")

    def _inputs(self, question: Embed) -> tuple[tuple[int, ...], ...]:
        texts = [each for each in question.inputs if isinstance(each, str)]
        encoded = iter(self._tokenizer.encode(texts))
        return tuple(
            next(encoded) if isinstance(each, str) else self._known(number, each)
            for number, each in enumerate(question.inputs)
        )

    def _known(self, number: int, tokens: tuple[int, ...]) -> tuple[int, ...]:
        highest = None if self._vocabulary is None else self._vocabulary - 1
        if min(tokens) < 0 or (highest is not None and max(tokens) > highest):
            known = "below 0" if highest is None else f"outside of 0 to {highest}"
            raise _invalid("input", f"input {number} has a token id {known}")
        return tokens

    def _check_lengths(self, inputs: tuple[tuple[int, ...], ...]) -> None:
        for number, tokens in enumerate(inputs):
            if not tokens:
                raise _invalid("input", f"input {number} has no tokens")
            if self.context_length is not None and len(tokens) > self.context_length:
                raise Refused(
                    Failure(
                        FailureCode.CONTEXT_LENGTH_EXCEEDED,
                        f"This model's maximum context length is {self.context_length} tokens,"
                        f" but input {number} has {len(tokens)} tokens. Please shorten it.",
                        param="input",
                    )
                )
        total = sum(map(len, inputs))
        if total > MAX_TOKENS:
            raise _too_much(f"{total} tokens")


def _too_much(what: str) -> Refused:
    return _invalid("input", f"{what} in one request; at most {MAX_TOKENS} tokens are taken")


def _invalid(param: str, message: str) -> Refused:
    return Refused(Failure(FailureCode.INVALID_REQUEST, f"{param}: {message}", param=param))
