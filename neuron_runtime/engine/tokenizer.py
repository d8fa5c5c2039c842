"""A model's tokenizer and chat template, read from its directory. Engine's thread only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import msgspec
import tokenizers

from neuron_runtime.engine.chat_template import ChatTemplate, ChatTemplateError

#: The special tokens that a template may use by name.
_NAMED = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


class TokenizerError(Exception):
    """A tokenizer file is missing or cannot be read; names the file."""


@final
class Tokenizer:
    """Text to token ids and back, with the template that turns messages into text."""

    def __init__(
        self, core: tokenizers.Tokenizer, special_tokens: Mapping[str, str], template: str | None
    ) -> None:
        """Wrap ``core``.

        Raises:
            ChatTemplateError: The template is not valid.
        """
        self._core = core
        self._template = ChatTemplate(template, special_tokens) if template is not None else None
        self.special_tokens = dict(special_tokens)
        self.special_ids = frozenset(
            token_id for token_id, token in core.get_added_tokens_decoder().items() if token.special
        )

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
        special = {name: text for name in _NAMED if (text := _token_text(config.get(name)))}
        try:
            return cls(core, special, _template(model_dir, config))
        except ChatTemplateError as error:
            msg = f"{model_dir}: {error}"
            raise TokenizerError(msg) from error

    @property
    def eos_id(self) -> int | None:
        """The id of the tokenizer's own end token, if it names one."""
        text = self.special_tokens.get("eos_token")
        return None if text is None else self._core.token_to_id(text)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
        """Render ``messages`` for an answer and return the prompt's token ids.

        Raises:
            ChatTemplateError: There is no template or it refuses the messages.
        """
        if self._template is None:
            msg = "the model has no chat template"
            raise ChatTemplateError(msg)
        return self.encode(self._template.render(messages))

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of ``text``; no special tokens are added to it."""
        return tuple(self._core.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``, special tokens left out."""
        return str(self._core.decode(list(ids), skip_special_tokens=True))


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        msg = f"cannot read {path}: {error}"
        raise TokenizerError(msg) from error


def _token_text(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _template(model_dir: Path, config: dict[str, Any]) -> str | None:
    path = model_dir / "chat_template.jinja"
    if path.exists():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"cannot read {path}: {error}"
            raise TokenizerError(msg) from error
    found = config.get("chat_template")
    if isinstance(found, list):
        # An older layout: several templates by name.
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None
