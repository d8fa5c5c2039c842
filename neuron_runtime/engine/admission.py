"""Turning a Generate into sequences, or into a refusal that says what is wrong with it. Pure.

The front end has checked the same fields already; an engine trusts no peer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

from neuron_runtime.engine.constraint_work import characters_of
from neuron_runtime.engine.grammar import Grammars
from neuron_runtime.engine.grammar_mask import GrammarMask
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.output_constraint import ConstraintRefused, output_mask
from neuron_runtime.engine.prepared import Prepared
from neuron_runtime.engine.prompt_maker import PromptMaker
from neuron_runtime.engine.refused import Refused
from neuron_runtime.engine.sequence import Request, Sampling, Sequence
from neuron_runtime.engine.tokenizer import Tokenizer
from transports.failures import FailureCode
from transports.schemas.generate import Generate, SamplingOptions
from transports.schemas.link import Failure

MAX_STOPS = 16
MAX_CHOICES = 16
MAX_BIASES = 1024
MAX_LOGPROBS = 20
_MAX_TOP_K = 2**31 - 1
_MAX_SEED = 2**63 - 1
_MAX_IDS = 2**31
_MAX_BIAS = 100.0


@final
class Admission:
    """What is checked and filled in before a request may queue.

    It goes in steps, because a long prompt or a large grammar is made on another thread: ``check``,
    ``make``, ``admit``; all but ``make`` on the engine's thread only.

    ``draw_seed`` gives a request without a seed a random one (0 to 2**63 - 1) here, at admission,
    so that a replay goes on exactly as the first run would have.
    """

    def __init__(
        self, model: str, tokenizer: Tokenizer, facts: ModelFacts, draw_seed: Callable[[], int]
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._defaults = facts.defaults
        self._vocabulary = facts.vocabulary or _MAX_IDS
        self._draw_seed = draw_seed
        self.prompts = PromptMaker(tokenizer, facts)
        end_ids = set(facts.eos_ids)
        if tokenizer.eos_id is not None:
            end_ids.add(tokenizer.eos_id)
        self._grammars = Grammars(tokenizer.definition, end_ids)
        self._last_id = 0

    def prepare(self) -> None:
        """Do at leisure what the first constrained request would have to wait for."""
        self._grammars.prepare()

    def check(self, question: Generate) -> int:
        """Check what can be checked at once; return how many characters ``make`` has to read.

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
        _check_biases(question.sampling.logit_bias, self._vocabulary)
        return self.prompts.check(question) + characters_of(question)

    def make(self, question: Generate) -> Prepared:
        """Make the prompt and, where the output is constrained, its mask. Any thread.

        Raises:
            Refused: With the failure code and the offending field.
        """
        return Prepared(self.prompts.make(question), self._mask(question))

    def admit(
        self, question: Generate, prepared: Prepared, now: float, deadline: float | None
    ) -> tuple[Sequence, ...]:
        """Return the sequences of ``question``'s choices, in order.

        ``now`` is when it arrived, in monotonic seconds.
        """
        sampling, mask = self._sampling(question.sampling), prepared.mask
        request = Request(question.request_id, begun=bool(question.resume))
        first = self._last_id + 1
        self._last_id += question.n
        return tuple(
            Sequence(
                id=first + choice,
                prompt=prepared.prompt,
                sampling=sampling.of_choice(choice),
                max_tokens=question.sampling.max_tokens,
                deadline=deadline,
                arrived=now,
                principal=question.principal,
                request=request,
                ignore_eos=question.sampling.ignore_eos,
                mask=mask if choice == 0 or mask is None else mask.copy(),
                output=list(question.resume),
            )
            for choice in range(question.n)
        )

    def _mask(self, question: Generate) -> GrammarMask | None:
        try:
            return output_mask(self._grammars, self._tokenizer, question)
        except ConstraintRefused as refused:
            raise _invalid(refused.param, str(refused)) from refused

    def _sampling(self, asked: SamplingOptions) -> Sampling:
        defaults = self._defaults
        return Sampling(
            temperature=_first(asked.temperature, defaults.temperature, 1.0),
            top_p=_first(asked.top_p, defaults.top_p, 1.0),
            top_k=int(_first(asked.top_k, defaults.top_k, 0)),
            seed=self._draw_seed() if asked.seed is None else asked.seed,
            min_p=_first(asked.min_p, defaults.min_p, 0.0),
            frequency_penalty=asked.frequency_penalty,
            presence_penalty=asked.presence_penalty,
            repetition_penalty=_first(asked.repetition_penalty, defaults.repetition_penalty, 1.0),
            logit_bias=asked.logit_bias,
            logprobs=-1 if asked.logprobs is None else asked.logprobs,
        )


def _check(question: Generate) -> None:
    asked = question.sampling
    if not question.messages and question.prompt is None:
        raise _invalid("messages", "must hold at least one message")
    _check_range("n", question.n, 1, MAX_CHOICES)
    if question.resume and (question.n > 1 or min(question.resume) < 0):
        raise _invalid("resume", "must be the token ids of a single choice")
    _check_range("max_tokens", asked.max_tokens, 1, math.inf)
    _check_range("temperature", asked.temperature, 0, math.inf)
    _check_range("top_p", asked.top_p, 0, 1)
    _check_range("top_k", asked.top_k, 0, _MAX_TOP_K)
    _check_range("seed", asked.seed, 0, _MAX_SEED)
    _check_range("min_p", asked.min_p, 0, 1)
    _check_range("frequency_penalty", asked.frequency_penalty, -2, 2)
    _check_range("presence_penalty", asked.presence_penalty, -2, 2)
    _check_range("repetition_penalty", asked.repetition_penalty, 0, math.inf)
    _check_range("logprobs", asked.logprobs, 0, MAX_LOGPROBS)
    if asked.repetition_penalty == 0:
        raise _invalid("repetition_penalty", "must be greater than 0")
    for name in ("temperature", "repetition_penalty"):
        if getattr(asked, name) == math.inf:
            raise _invalid(name, "must be finite")
    if len(asked.stop) > MAX_STOPS or not all(asked.stop):
        raise _invalid("stop", f"must be at most {MAX_STOPS} strings, none of them empty")


def _check_biases(biases: tuple[tuple[int, float], ...], vocabulary: int) -> None:
    if len(biases) > MAX_BIASES:
        raise _invalid("logit_bias", f"must be at most {MAX_BIASES} tokens")
    for token, bias in biases:
        if not -_MAX_BIAS <= bias <= _MAX_BIAS:
            limits = f"numbers between {-_MAX_BIAS:g} and {_MAX_BIAS:g}"
            raise _invalid("logit_bias", f"must hold {limits}, not {bias:g}")
        if not 0 <= token < vocabulary:
            limits = f"token ids of 0 to {vocabulary - 1}"
            raise _invalid("logit_bias", f"must be for {limits}, not {token}")


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
