"""A voice that says what a script in the model's folder has for the prompt, for tests of clients.

``script.json`` is a list of rules, each with ``when`` and ``say``. The rule whose ``when`` stands
last in the prompt is followed, so that the latest message decides; one with an empty ``when`` is
for all other prompts. Special tokens may be written in ``say`` by their text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

import msgspec

from neuron_runtime.backends.base import BackendError
from neuron_runtime.backends.fake_cache import FakeCache
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.model_facts import ModelFilesError as FactsError
from neuron_runtime.engine.tokenizer import Tokenizer, TokenizerError
from transports.failures import FailureCode
from transports.schemas.group import LoadShard, SampleParams

FILE: Final = "script.json"
DEFAULT_CONTEXT: Final = 8192
_REMEMBERED: Final = 1024


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``say`` answers prompts in which ``when`` is the last of all rules' texts."""

    when: str
    say: str


def chosen(rules: Sequence[Rule], prompt: str) -> str:
    """Return what the rules have to say to ``prompt``; nothing if none of them fits."""
    fallback = next((rule.say for rule in rules if not rule.when), "")
    placed = [(prompt.rfind(rule.when), rule.say) for rule in rules if rule.when]
    place, said = max(placed, key=lambda found: found[0], default=(-1, ""))
    return fallback if place < 0 else said


@final
class ScriptVoice:
    """A ``Voice``; the output's end token follows the last of what there is to say."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._tokenizer: Tokenizer | None = None
        self._end = 0
        self._lines: dict[int, tuple[int, ...]] = {}

    def load(self, shard: LoadShard) -> int:
        """Read the script, the tokenizer and the configuration.

        Raises:
            BackendError: One of them is missing or not readable; the message names it.
        """
        folder = Path(shard.model_dir)
        path = folder / FILE
        try:
            self._rules = msgspec.json.decode(path.read_bytes(), type=list[Rule])
            self._tokenizer = Tokenizer.load(folder)
            facts = ModelFacts.load(folder)
        except (OSError, msgspec.DecodeError) as error:
            raise BackendError(FailureCode.LOAD_FAILED, f"cannot read {path}: {error}") from error
        except (TokenizerError, FactsError) as error:
            raise BackendError(FailureCode.LOAD_FAILED, str(error)) from error
        self._end = min(facts.eos_ids, default=self._tokenizer.eos_id or 0)
        return facts.context_length or DEFAULT_CONTEXT

    def token(self, cache: FakeCache, sequence: int, params: SampleParams) -> int:
        """Return the script's token number ``params.index``."""
        line = self._lines.get(sequence)
        if line is None or params.index == 0:
            # A sequence that was begun again has its own output in what it was fed.
            fed = cache.tokens(sequence)
            if len(self._lines) >= _REMEMBERED:
                self._lines.clear()
            line = self._lines[sequence] = self._line(fed[: len(fed) - params.index])
        return line[params.index] if params.index < len(line) else self._end

    def _line(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        if self._tokenizer is None:
            raise BackendError(FailureCode.STEP_FAILED, "the script is not loaded")
        return self._tokenizer.encode(chosen(self._rules, self._tokenizer.decode_all(prompt)))
