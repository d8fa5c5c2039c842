"""From a question to its prompt's token ids, and why that is not even tried. Pure.

A text that cannot fit is refused by its length, since tokens take time: about a second for each
million characters. No text of n characters has fewer tokens than n divided by the length of the
vocabulary's longest token, as each token stands for its own text at most. That would be unsafe only
where text vanishes on its way: blanks that a template or a normalizer strips, accents, characters
that a model does not know and reads as one unknown. So the longest token counts as 64 characters at
least (four are usual): what is refused wrongly is nothing but such padding, sixteen times as long
as the text of a full context.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

from neuron_runtime.engine.chat_template import ChatTemplateError
from neuron_runtime.engine.context_limit import too_many_characters, too_many_tokens
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.refused import Refused
from neuron_runtime.engine.tokenizer import Tokenizer, TooManyTokens
from transports.failures import FailureCode
from transports.schemas.generate import Generate
from transports.schemas.link import Failure

CHARACTERS_PER_TOKEN = 64
_USUAL_CHARACTERS = 8
_PIECE_CHARACTERS = 1 << 18
_UNKNOWN_LIMIT = 1 << 62
_MAX_VALUES = 1 << 18
"""Names and values of a question's objects; counting them takes the engine's thread 0.1 s."""

_MAX_IDS = 2**31


@final
class PromptMaker:
    """Renders and tokenizes. Any thread, and several at once: nothing here changes.

    Except for ``context_length``, which the engine's thread sets when it learns how many tokens the
    model can hold; None while that is not known.
    """

    def __init__(self, tokenizer: Tokenizer, facts: ModelFacts) -> None:
        self._tokenizer = tokenizer
        self._last_id = (facts.vocabulary or _MAX_IDS) - 1
        self.context_length = facts.context_length

    def check(self, question: Generate) -> int:
        """Return how many characters all have that goes into the prompt, token ids none.

        Raises:
            Refused: They cannot fit.
        """
        characters = _characters(question, self._stop())
        if characters > self._stop():
            # Counted to the end only now that the vocabulary is known to have longer tokens.
            characters = _characters(question, self._most())
            self._check(characters)
        return characters

    def make(self, question: Generate) -> tuple[int, ...]:
        """Return the prompt's token ids.

        Raises:
            Refused: The template refuses it, it is empty, or it cannot fit.
        """
        if isinstance(question.prompt, tuple):
            prompt = self._checked_ids(question.prompt)
        else:
            text = self._text(question)
            bare, limit = question.prompt is not None, self.context_length
            try:
                prompt = self._tokenizer.encode(text, bare=bare, most=limit)
            except TooManyTokens as found:
                raise Refused(too_many_tokens(limit or 0, found.count)) from found
        self._check_any(question, len(prompt))
        return prompt

    def count(self, question: Generate) -> int:
        """Return how many token ids the prompt has; it may be more than fit.

        Raises:
            Refused: As ``make``; or they are too many to be counted.
        """
        if isinstance(question.prompt, tuple):
            return len(question.prompt)
        text = self._text(question)
        count = self._tokenizer.count(text, bare=question.prompt is not None)
        self._check_any(question, count)
        return count

    def _text(self, question: Generate) -> str:
        if isinstance(question.prompt, str):
            text = question.prompt
        else:
            # Python's JSON is one call without a pause for other threads, half a second for 8 MB.
            for arguments in _arguments(question):
                self._check_pieces(arguments)
            try:
                text = self._tokenizer.render(
                    question.messages,
                    question.tools,
                    question.template,
                    continue_final=question.continue_final,
                )
            except ChatTemplateError as error:
                raise _invalid(error.param, str(error)) from error
        self._check(len(text))
        self._check_pieces(text)
        return text

    def _check_pieces(self, text: str) -> None:
        """Refuse a text of which a part is too long already.

        Tokens take some hundred bytes each, and a character of a rare script may be four of them:
        so one with more characters than a full context usually has is looked at in pieces first. A
        cut changes the tokens beside it, and never halves what a piece has.
        """
        limit = self.context_length
        if limit is None or len(text) <= max(limit * _USUAL_CHARACTERS, _PIECE_CHARACTERS):
            return
        count = 0
        for start in range(0, len(text), _PIECE_CHARACTERS):
            count += self._tokenizer.count(text[start : start + _PIECE_CHARACTERS])
            if count > 2 * limit:
                raise Refused(too_many_characters(limit, len(text)))

    def _checked_ids(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        limit = self.context_length
        if limit is not None and len(prompt) > limit:
            raise Refused(too_many_tokens(limit, len(prompt)))
        if prompt and not 0 <= min(prompt) <= max(prompt) <= self._last_id:
            raise _invalid("prompt", f"must hold token ids of 0 to {self._last_id}")
        return prompt

    def _check_any(self, question: Generate, tokens: int) -> None:
        if tokens:
            return
        if question.prompt is not None:
            raise _invalid("prompt", "must hold at least one token")
        raise _invalid("messages", "the messages render to an empty prompt")

    def _check(self, characters: int) -> None:
        limit = self.context_length
        if limit is not None and characters > self._stop() and characters > self._most():
            raise Refused(too_many_characters(limit, characters))

    def _stop(self) -> int:
        """Return how many characters may fit whatever the vocabulary."""
        limit = self.context_length
        return _UNKNOWN_LIMIT if limit is None else limit * CHARACTERS_PER_TOKEN

    def _most(self) -> int:
        """Return how many may fit; looks through the vocabulary the first time."""
        longest = max(CHARACTERS_PER_TOKEN, self._tokenizer.longest_token)
        return self._stop() // CHARACTERS_PER_TOKEN * longest


def _characters(question: Generate, stop: int) -> int:
    """Count what a template may show: texts, names, schemas, arguments, reasoning.

    What is no text counts as one character. It ends soon after ``stop``.

    Raises:
        Refused: A body may hold millions of numbers, or of empty texts.
    """
    if question.prompt is not None:
        return len(question.prompt) if isinstance(question.prompt, str) else 0
    count = values = 0
    todo: list[Any] = [question.messages, question.tools, question.template]
    while todo and count <= stop:
        values += 1
        if values > _MAX_VALUES:
            raise _invalid("messages", f"more than {_MAX_VALUES} values, with those of the tools")
        each = todo.pop()
        if isinstance(each, str):
            count += len(each)
            continue
        count += 1
        if isinstance(each, dict):
            todo += each
            todo += each.values()
        elif isinstance(each, list | tuple):
            todo += each
    return count


def _arguments(question: Generate) -> Iterator[str]:
    """Return what will be read as JSON before it is rendered."""
    for message in question.messages:
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list | tuple) else ():
            function = call.get("function") if isinstance(call, dict) else None
            arguments = function.get("arguments") if isinstance(function, dict) else None
            if isinstance(arguments, str):
                yield arguments


def _invalid(param: str, message: str) -> Refused:
    return Refused(Failure(FailureCode.INVALID_REQUEST, f"{param}: {message}", param=param))
