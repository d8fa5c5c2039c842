"""Bodies of the data plane: front end to engine and back."""

from __future__ import annotations

from typing import Any

from transports.schemas.body import Body


class SamplingOptions(Body, frozen=True):
    """What the client asked for; None means the model's own default.

    ``logprobs`` is how many alternatives to report beside each token's own log probability.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    min_p: float | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    ignore_eos: bool = False


class Constraint(Body, frozen=True):
    """What the output must be: ``kind`` is json_object, json_schema, regex or choice.

    ``value`` is the schema as JSON, the pattern, or the choices as a JSON array.
    """

    kind: str
    value: str = ""


class Generate(Body, frozen=True):
    """Generate ``n`` completions for a chat (``messages``, as OpenAI shapes them) or a ``prompt``.

    ``tools`` are OpenAI's objects; ``tool_choice`` is auto, none, required or a function's name.
    ``template`` holds further variables for the chat template. With ``continue_final`` the answer
    goes on from the last message, which is the assistant's. ``resume`` are output tokens that the
    client has already, from an engine that was lost: the answer goes on after them, and the first
    delta has their number as its index.
    """

    request_id: str
    model: str
    messages: list[dict[str, Any]]
    sampling: SamplingOptions = SamplingOptions()
    principal: str = ""
    n: int = 1
    prompt: str | tuple[int, ...] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    constraint: Constraint | None = None
    template: dict[str, Any] | None = None
    continue_final: bool = False
    resume: tuple[int, ...] = ()


class ToolCallDelta(Body, frozen=True):
    """A piece of the choice's tool call number ``index``; id and name come once, first."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class TokenLogprob(Body, frozen=True):
    """One output token with its log probability and the likeliest alternatives."""

    text: str
    logprob: float
    token_bytes: bytes = b""
    top: tuple[TopLogprob, ...] = ()


class TopLogprob(Body, frozen=True):
    """One alternative."""

    text: str
    logprob: float
    token_bytes: bytes = b""


class TextDelta(Body, frozen=True):
    """Newly visible output of one choice: text, reasoning, or pieces of tool calls.

    ``index`` and ``tokens`` say which output tokens of the choice it covers, ``reasoning_tokens``
    how many of them are of reasoning. A request's first one tells how many tokens the prompt has,
    how many of these were known already, and the seconds of the phases that are over.
    """

    text: str
    index: int
    tokens: tuple[int, ...] = ()
    choice: int = 0
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    queue_s: float = 0.0
    prefill_s: float = 0.0


class GenerateDone(Body, frozen=True):
    """The one terminal event of a successful generation.

    ``finish_reasons`` are those of all choices, in order, if there are several. ``stop_sequence``
    is the stop string that ended the first. ``last`` are pieces that had not left when it ended:
    the link gives them to the asker as the others, before the end. ``pieces`` is how many there
    were with those, as the link that sends it has counted them: without, a text whose last piece is
    lost would look complete. None is not told, by an older engine.
    """

    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    finish_reasons: tuple[str, ...] = ()
    stop_sequence: str = ""
    pieces: int | None = None
    last: tuple[TextDelta, ...] = ()


class StillRunning(Body, frozen=True):
    """Interim: a text that has begun goes on, though nothing of it can be seen for the moment.

    It has lost its seat or its ranks and waits or is computed again, or its tokens are held back.
    """


class CountTokens(Body, frozen=True):
    """Say how many tokens the prompt of ``question`` has; nothing is generated."""

    request_id: str
    model: str
    question: Generate


class TokensCounted(Body, frozen=True):
    """The prompt's length, by the model's own template and tokenizer."""

    prompt_tokens: int


class Embed(Body, frozen=True):
    """Turn each of ``inputs`` (text, or token ids) into one vector."""

    request_id: str
    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    principal: str = ""


class EmbedDone(Body, frozen=True):
    """The raw frame holds one row of ``dimensions`` little-endian float32 for each input."""

    dimensions: int
    prompt_tokens: int


class ChunkItem(Body, frozen=True):
    """One stream's next piece: answers request ``corr`` of this link; ``index`` counts from 0."""

    corr: int
    index: int
    payload: TextDelta


class Chunks(Body, frozen=True):
    """Body of CHUNK: what one engine step produced for all streams of one link."""

    items: tuple[ChunkItem, ...]
