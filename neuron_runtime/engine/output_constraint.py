"""The one grammar that an output must follow: the request's constraint, forced calls, or both."""

from __future__ import annotations

from neuron_runtime.engine.constraint_rule import constraint_rule
from neuron_runtime.engine.constraint_work import check_divisors
from neuron_runtime.engine.grammar import GrammarError, Grammars
from neuron_runtime.engine.grammar_mask import GrammarMask
from neuron_runtime.engine.request_output import call_grammar_of
from neuron_runtime.engine.tokenizer import Tokenizer
from transports.schemas.generate import Generate


class ConstraintRefused(Exception):
    """The output cannot be made to follow it; ``param`` is the field of Generate that asks."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


def output_mask(grammars: Grammars, tokenizer: Tokenizer, question: Generate) -> GrammarMask | None:
    """Return the mask of one of the request's outputs; None if it is free.

    Raises:
        ConstraintRefused: What the request asks for cannot be enforced.
    """
    answer, rule = None, None
    if question.constraint is not None:
        try:
            rule = constraint_rule(question.constraint)
            answer = grammars.compile(f"start: {rule}")
        except GrammarError as error:
            raise ConstraintRefused("constraint", str(error)) from error
    try:
        calls = call_grammar_of(tokenizer, question, rule)
    except ValueError as error:
        raise ConstraintRefused("tool_choice", str(error)) from error
    if calls is None:
        return answer
    try:
        check_divisors(question.tools)
        mask = grammars.compile(calls)
    except GrammarError as error:
        raise ConstraintRefused("tools", str(error)) from error
    mask.param = "tools"
    return mask
