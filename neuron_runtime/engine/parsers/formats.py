"""Which format a model writes, told from its chat template. Pure.

The formats that come with cortex are here; ``plugged_formats`` finds others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, final

from neuron_runtime.engine.parsers import harmony as harmony_format
from neuron_runtime.engine.parsers import hermes, llama_json, mistral, qwen_xml
from neuron_runtime.engine.parsers.argument_types import properties_of
from neuron_runtime.engine.parsers.call_grammar import Around
from neuron_runtime.engine.parsers.chained import ChainedParser
from neuron_runtime.engine.parsers.pieces import OutputParser
from neuron_runtime.engine.parsers.reasoning import ReasoningParser

Tools = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a family of models writes calls.

    ``signs`` are texts that all appear in its templates. ``markers`` are what the parser must see
    even where they are special tokens. ``call_id`` is the pattern of its ids: a prefix, and how
    many random characters follow. ``around`` is what calls with JSON arguments are written like
    when they are demanded; None if ``call_grammar`` has its own for the name, or there is none.
    """

    name: str
    signs: tuple[str, ...]
    markers: tuple[str, ...]
    make: Callable[[Tools], OutputParser]
    call_id: tuple[str, int] = ("call_", 24)
    around: Around | None = None


#: Mistral's templates refuse every other form.
_MISTRAL_ID = ("", 9)

#: Tried in this order: the first whose signs a template holds.
CALL_FORMATS: Final = (
    CallFormat(
        "harmony",
        (harmony_format.CHANNEL, harmony_format.MESSAGE),
        harmony_format.MARKERS,
        lambda _tools: harmony_format.HarmonyParser(),
    ),
    CallFormat(
        "qwen3_coder",
        (qwen_xml.FUNCTION, qwen_xml.PARAMETER),
        qwen_xml.MARKERS,
        lambda tools: qwen_xml.QwenXmlParser(properties_of(tools)),
    ),
    CallFormat("hermes", (hermes.OPEN,), hermes.MARKERS, lambda _tools: hermes.HermesParser()),
    CallFormat(
        "mistral",
        (mistral.OPEN, mistral.ARGS),
        mistral.MARKERS,
        lambda _tools: mistral.MistralParser(),
        _MISTRAL_ID,
    ),
    CallFormat(
        "mistral_list",
        (mistral.OPEN,),
        mistral.MARKERS,
        lambda _tools: mistral.MistralParser(),
        _MISTRAL_ID,
    ),
    CallFormat(
        "llama3_json",
        (),
        llama_json.MARKERS,
        lambda tools: llama_json.LlamaJsonParser(properties_of(tools)),
    ),
)

FORMATS_BY_NAME: Mapping[str, CallFormat] = MappingProxyType(
    {each.name: each for each in CALL_FORMATS}
)

_REASONING_TAGS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
)


@final
@dataclass(frozen=True, slots=True)
class OutputFormat:
    """How one model writes; ``calls`` is for requests that offer tools."""

    reasoning: tuple[str, str] | None
    calls: CallFormat

    @classmethod
    def of_template(
        cls, template: str, formats: Sequence[CallFormat] = CALL_FORMATS
    ) -> OutputFormat:
        """Tell the format from a template's text: the first of ``formats`` whose signs it holds.

        A template without any format's signs gets bare JSON, which is what models without a format
        of their own are asked for.
        """
        tags = (tags for tags in _REASONING_TAGS if tags[1] in template)
        found = (each for each in formats if all(sign in template for sign in each.signs))
        return cls(next(tags, None), next(found))

    @property
    def reasons(self) -> bool:
        """Whether reasoning is told apart from the answer."""
        return self.reasoning is not None or self._harmony

    def markers(self, *, tools: bool) -> tuple[str, ...]:
        """Return the texts that have to be seen even where they are special tokens."""
        calls = self.calls.markers if tools or self._harmony else ()
        return (*(self.reasoning or ()), *calls)

    def parser(self, prompt: str, tools: Tools = ()) -> OutputParser | None:
        """Return a new output's parser, or None if everything is content.

        ``prompt`` is the prompt's text or its end, special tokens included. Without ``tools`` no
        calls are looked for.
        """
        if self._harmony:
            return harmony_format.HarmonyParser(calls=bool(tools))
        calls = self.calls.make(tools) if tools else None
        if self.reasoning is None:
            return calls
        opened = prompt.rstrip().endswith(self.reasoning[0])
        reasoning = ReasoningParser(*self.reasoning, opened=opened)
        return reasoning if calls is None else ChainedParser(reasoning, calls)

    @property
    def _harmony(self) -> bool:
        return self.calls.name == "harmony"
