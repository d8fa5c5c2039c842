"""A model directory with everything but weights, made in a moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
START, END, UNKNOWN = 256, 257, 258
FIRST_WORD = 259
# Enough for every token that the fake backend draws.
FAKE_WORDS = 31_000
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(words: int = 40) -> Tokenizer:
    """One token per byte (ids 0 to 255), three special ones, then words `` w259``, ..."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *SPECIAL, *(f"Ġw{FIRST_WORD + number}" for number in range(words))]
    model = models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[])
    core = Tokenizer(model)
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    return core


def make_model_dir(
    path: Path,
    *,
    words: int = 40,
    template: str = CHATML,
    config: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
) -> Path:
    """Write the files that an engine reads."""
    path.mkdir(parents=True, exist_ok=True)
    make_tokenizer(words).save(str(path / "tokenizer.json"))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[1],
        "unk_token": SPECIAL[2],
    }
    (path / "tokenizer_config.json").write_text(json.dumps(names))
    (path / "chat_template.jinja").write_text(template)
    facts = {"max_position_embeddings": 4096, "eos_token_id": END} if config is None else config
    (path / "config.json").write_text(json.dumps(facts))
    (path / "generation_config.json").write_text(json.dumps(generation or {}))
    return path
