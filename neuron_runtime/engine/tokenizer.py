"""A model's tokenizer and chat template, read from its directory.

Nothing changes once they are read, so any thread may use them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, final

import msgspec
import tokenizers

from neuron_runtime.engine.chat_template import ChatTemplate, ChatTemplateError
from neuron_runtime.engine.parsers.formats import CALL_FORMATS, CallFormat, OutputFormat
from neuron_runtime.engine.parsers.plugged_formats import CallFormatError, call_formats
from neuron_runtime.engine.token_bytes import token_bytes

LONG_CHARACTERS = 8192
"""Longer texts take more than some 5 ms to become tokens."""


class TokenizerError(Exception):
    """A tokenizer file is missing or cannot be read; names the file."""


class TooManyTokens(Exception):
    """A text has more tokens than were asked for: ``count``."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} tokens")
        self.count = count


@final
class Tokenizer:
    """Text to token ids and back, with the template that turns messages into text."""

    def __init__(
        self,
        core: tokenizers.Tokenizer,
        special_tokens: Mapping[str, str],
        template: str | None,
        tool_template: str | None = None,
        formats: Sequence[CallFormat] = CALL_FORMATS,
    ) -> None:
        """Wrap ``core``. ``tool_template`` is for requests with tools, if they have their own.

        Raises:
            ChatTemplateError: The template is not valid.
        """
        self._core = core
        self._template = ChatTemplate(template, special_tokens) if template is not None else None
        self._tool_template = self._template
        if tool_template is not None:
            self._tool_template = ChatTemplate(tool_template, special_tokens)
        self.output_format = OutputFormat.of_template(tool_template or template or "", formats)
        self.special_tokens = dict(special_tokens)
        added = core.get_added_tokens_decoder()
        self._added = {token_id: token.content for token_id, token in added.items()}
        self._special = {each: text for each, text in self._added.items() if added[each].special}
        self._byte_level = "ByteLevel" in repr(core.decoder)
        self.special_ids = frozenset(self._special)

    @classmethod
    def load(cls, model_dir: Path) -> Tokenizer:
        """Read ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``.

        Raises:
            TokenizerError: One of them is missing or not readable.
        """
        path = model_dir / "tokenizer.json"
        try:
            core = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:
            # The library raises plain Exception for all that can be wrong with a file.
            msg = f"cannot read the tokenizer {path}: {error}"
            raise TokenizerError(msg) from error
        config = _read_config(model_dir / "tokenizer_config.json")
        special = _special_tokens(model_dir, config)
        try:
            templates = _templates(model_dir, config)
            default, tools = templates.get("default"), templates.get("tool_use")
            return cls(core, special, default, tools, call_formats())
        except (ChatTemplateError, CallFormatError) as error:
            msg = f"{model_dir}: {error}"
            raise TokenizerError(msg) from error

    @property
    def eos_id(self) -> int | None:
        """The id of the tokenizer's own end token, if it names one."""
        text = self.special_tokens.get("eos_token")
        return None if text is None else self._core.token_to_id(text)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What a model that generates can do, by its template: completions, chat, and so on."""
        can = {
            "completions": True,
            "chat": self._template is not None,
            "tools": self._tool_template is not None and self._tool_template.renders_tools,
            "reasoning": self.output_format.reasons,
        }
        return tuple(name for name, able in can.items() if able)

    def definition(self) -> str:
        """Return the tokenizer as ``tokenizer.json`` holds it, without padding and truncation."""
        core = copy(self._core)
        core.no_padding()
        core.no_truncation()
        return str(core.to_str())

    @cached_property
    def longest_token(self) -> int:
        """How many characters the longest token has, as the vocabulary writes it.

        Which is no fewer than it stands for: one for each byte, or for each character.
        """
        return max(map(len, self._core.get_vocab(with_added_tokens=True)), default=0)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
        *,
        continue_final: bool = False,
    ) -> str:
        """Return the prompt for ``messages`` and ``tools`` as text.

        ``variables`` are further ones for the template. With ``continue_final`` the prompt ends
        with the last message's text.

        Raises:
            ChatTemplateError: There is no template or it refuses the messages or the tools.
        """
        template = self._tool_template if tools else self._template
        if template is None:
            msg = "the model has no chat template"
            raise ChatTemplateError(msg)
        return template.render(
            messages, tools=tools, variables=variables, continue_final=continue_final
        )

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
        *,
        continue_final: bool = False,
    ) -> tuple[int, ...]:
        """Return the token ids of what ``render`` makes.

        Raises:
            ChatTemplateError: As ``render``.
        """
        return self.encode(self.render(messages, tools, variables, continue_final=continue_final))

    def encode(self, text: str, *, bare: bool = False, most: int | None = None) -> tuple[int, ...]:
        """Return the ids of ``text``, which a ``bare`` prompt begins as the model's prompts do.

        That is with the tokenizer's own special tokens, which a template writes itself.

        Raises:
            TooManyTokens: They are more than ``most``.
        """
        encoded = self._encoded(text, bare=bare)
        # Before they are made into Python's integers, all of them in one call.
        if most is not None and len(encoded) > most:
            raise TooManyTokens(len(encoded))
        return tuple(encoded.ids)

    def count(self, text: str, *, bare: bool = False) -> int:
        """Return how many ids ``encode`` would."""
        return len(self._encoded(text, bare=bare))

    def _encoded(self, text: str, *, bare: bool) -> tokenizers.Encoding:
        if len(text) <= LONG_CHARACTERS:
            return self._core.encode(text, add_special_tokens=bare)
        # As a batch of one, because only a batch lets the process' other threads go on meanwhile.
        return self._core.encode_batch_fast([text], add_special_tokens=bare)[0]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``, special tokens left out."""
        return str(self._core.decode(list(ids), skip_special_tokens=True))

    def decode_all(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``, special tokens too."""
        return str(self._core.decode(list(ids), skip_special_tokens=False))

    def token_bytes(self, token_id: int) -> bytes:
        """Return what a single token stands for, which may be part of a character."""
        added = self._added.get(token_id)
        if added is not None:
            return added.encode()
        return token_bytes(self._core.id_to_token(token_id) or "", byte_level=self._byte_level)

    def shown_bytes(self, token_id: int) -> bytes:
        """Return what a client gets to see of a token: nothing if it is a special one."""
        return b"" if token_id in self._special else self.token_bytes(token_id)

    def visible(self, markers: Collection[str]) -> dict[int, str]:
        """Return the special tokens among ``markers``, by id."""
        return {each: text for each, text in self._special.items() if text in markers}


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        msg = f"cannot read {path}: {error}"
        raise TokenizerError(msg) from error


def _special_tokens(model_dir: Path, config: dict[str, Any]) -> dict[str, str]:
    """Return the special tokens that templates may use, by the names that transformers gives."""
    declared = dict(config)
    if "added_tokens_decoder" not in config:
        # The older layout has them in a file of their own.
        declared |= _read_config(model_dir / "special_tokens_map.json")
    named = {name: value for name, value in declared.items() if name.endswith("_token")}
    further = declared.get("extra_special_tokens")
    if isinstance(further, dict):
        named |= further
    return {name: text for name, value in named.items() if (text := _token_text(value))}


def _token_text(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _templates(model_dir: Path, config: dict[str, Any]) -> dict[str, str]:
    """Return the templates by name; files win over the configuration, as in transformers."""
    single = model_dir / "chat_template.jinja"
    further = sorted((model_dir / "additional_chat_templates").glob("*.jinja"))
    if single.exists() or further:
        found = {path.stem: _read_template(path) for path in further}
        return {**found, "default": _read_template(single)} if single.exists() else found
    written = config.get("chat_template")
    if isinstance(written, str):
        return {"default": written}
    # An older layout: several templates by name.
    named = written if isinstance(written, list) else []
    return {
        each["name"]: each["template"]
        for each in named
        if isinstance(each, dict)
        and isinstance(each.get("name"), str)
        and isinstance(each.get("template"), str)
    }


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read {path}: {error}"
        raise TokenizerError(msg) from error
