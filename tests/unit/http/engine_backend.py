"""A backend that asks a whole engine in this process, and remembers what its tokenizer got."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cortex_actors.dialects.events import Counted, GenerationEvent, Question, Started
from tests.unit.engine.engine_bench import Answer, EngineBench
from tests.unit.http.doubles import ScriptedBackend, ScriptedGeneration
from transports.link import Completed, Failed
from transports.schemas.generate import GenerateDone, TokensCounted


class ListeningCore:
    """The tokenizer's own library, with an ear at its entrance."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.texts: list[str] = []

    def encode(self, text: str, **options: Any) -> Any:
        self.texts.append(text)
        return self._core.encode(text, **options)

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        self.texts.extend(texts)
        return self._core.encode_batch_fast(texts, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)


class EngineBackend(ScriptedBackend):
    """Answers every question through the engine of the model in ``model_dir``."""

    def __init__(self, model_dir: Path) -> None:
        super().__init__()
        self._bench = EngineBench(model_dir)
        self._bench.start_group()
        self._peer, _ = self._bench.client()
        self._core = ListeningCore(self._bench.tokenizer._core)
        self._bench.tokenizer._core = self._core  # type: ignore[assignment]

    @property
    def texts(self) -> list[str]:
        """What the tokenizer was given, in order."""
        return self._core.texts

    def generate(self, question: Question, *, streamed: bool = True) -> ScriptedGeneration:
        answer = self._bench.ask_body(self._peer, question)
        events = [Started(question.model, "local"), *answer.deltas, *_ends(answer)]
        return ScriptedGeneration(events, streamed=streamed)


def _ends(answer: Answer) -> Sequence[GenerationEvent]:
    (end,) = answer.ends
    match end:
        case Completed(GenerateDone() as done):
            return (done,)
        case Completed(TokensCounted(prompt_tokens=tokens)):
            return (Counted(tokens),)
        case Failed(failure):
            return (failure,)
        case _:
            raise AssertionError(end)
