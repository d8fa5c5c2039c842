"""Turning a Generate into a sequence, or into a refusal that says what is wrong with it. Pure.

The front end has checked the same fields already; an engine trusts no peer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

from neuron_runtime.engine.chat_template import ChatTemplateError
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.sequence import Sampling, Sequence
from neuron_runtime.engine.tokenizer import Tokenizer
from transports.failures import FailureCode
from transports.schemas.generate import Generate, SamplingOptions
from transports.schemas.link import Failure

MAX_STOPS = 16
_MAX_TOP_K = 2**31 - 1
_MAX_SEED = 2**63 - 1


class Refused(Exception):
    """The request cannot be accepted; ``failure`` is what the client is told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@final
class Admission:
    """What is checked and filled in before a request may queue. Engine's thread only.

    ``draw_seed`` gives a request without a seed a random one (0 to 2**63 - 1) here, at admission,
    so that a replay goes on exactly as the first run would have.
    """

    def __init__(
        self, model: str, tokenizer: Tokenizer, facts: ModelFacts, draw_seed: Callable[[], int]
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._defaults = facts.defaults
        self._draw_seed = draw_seed
        self._last_id = 0

    def admit(self, question: Generate, now: float, deadline: float | None) -> Sequence:
        """Return the sequence that answers ``question``.

        Raises:
            Refused: With the failure code and the offending field.
        """
        if question.model != self._model:
            raise Refused(
                Failure(
                    FailureCode.MODEL_NOT_FOUND,
                    f"this engine serves '{self._model}', not '{question.model}'",
                    param="model",
                )
            )
        _check(question)
        sampling = self._sampling(question.sampling)
        prompt = self._prompt(question)
        self._last_id += 1
        return Sequence(
            id=self._last_id,
            prompt=prompt,
            sampling=sampling,
            max_tokens=question.sampling.max_tokens,
            deadline=deadline,
            arrived=now,
        )

    def _prompt(self, question: Generate) -> tuple[int, ...]:
        try:
            prompt = self._tokenizer.encode_chat(
                question.messages, question.tools, question.template
            )
        except ChatTemplateError as error:
            raise _invalid(error.param, str(error)) from error
        if not prompt:
            raise _invalid("messages", "the messages render to an empty prompt")
        return prompt

    def _sampling(self, asked: SamplingOptions) -> Sampling:
        defaults = self._defaults
        return Sampling(
            temperature=_first(asked.temperature, defaults.temperature, 1.0),
            top_p=_first(asked.top_p, defaults.top_p, 1.0),
            top_k=int(_first(asked.top_k, defaults.top_k, 0)),
            seed=self._draw_seed() if asked.seed is None else asked.seed,
        )


def _check(question: Generate) -> None:
    asked = question.sampling
    if not question.messages:
        raise _invalid("messages", "must hold at least one message")
    _check_range("max_tokens", asked.max_tokens, 1, math.inf)
    _check_range("temperature", asked.temperature, 0, math.inf)
    _check_range("top_p", asked.top_p, 0, 1)
    _check_range("top_k", asked.top_k, 0, _MAX_TOP_K)
    _check_range("seed", asked.seed, 0, _MAX_SEED)
    if asked.top_p == 0:
        raise _invalid("top_p", "must be greater than 0")
    if asked.temperature is not None and math.isinf(asked.temperature):
        raise _invalid("temperature", "must be finite")
    if len(asked.stop) > MAX_STOPS or not all(asked.stop):
        raise _invalid("stop", f"must be at most {MAX_STOPS} strings, none of them empty")


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is None or low <= value <= high:
        return
    limit = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
    raise _invalid(name, f"must be {limit}, not {value:g}")


def _invalid(param: str, message: str) -> Refused:
    return Refused(Failure(FailureCode.INVALID_REQUEST, f"{param}: {message}", param=param))


def _first(asked: float | None, default: float | None, neutral: float) -> float:
    if asked is not None:
        return asked
    return neutral if default is None else default
