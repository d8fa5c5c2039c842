"""Bodies of the data plane: front end to engine and back."""

from __future__ import annotations

from typing import Any

from transports.schemas.body import Body


class SamplingOptions(Body, frozen=True):
    """What the client asked for; None means the model's own default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Generate(Body, frozen=True):
    """Generate one completion for a chat (``messages``, as OpenAI shapes them)."""

    request_id: str
    model: str
    messages: list[dict[str, Any]]
    sampling: SamplingOptions = SamplingOptions()
    principal: str = ""


class TextDelta(Body, frozen=True):
    """Newly visible text. ``index`` and ``tokens`` say which output tokens it covers."""

    text: str
    index: int
    tokens: tuple[int, ...] = ()


class GenerateDone(Body, frozen=True):
    """The one terminal event of a successful generation."""

    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    text: str = ""


class ChunkItem(Body, frozen=True):
    """One stream's next piece: answers request ``corr`` of this link; ``index`` counts from 0."""

    corr: int
    index: int
    payload: TextDelta


class Chunks(Body, frozen=True):
    """Body of CHUNK: what one engine step produced for all streams of one link."""

    items: tuple[ChunkItem, ...]
