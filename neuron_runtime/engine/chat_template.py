"""A model's own chat template, rendered exactly as transformers renders it.

The environment is the one that transformers gives to templates (sandbox, ``tojson``,
``raise_exception``, ``strftime_now``, loop controls, the ``generation`` tag); it is built here,
because importing transformers costs a second of a cold load. A test holds the two against each
other. Templates are untrusted code: they run in jinja2's immutable sandbox on plain data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, final

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from neuron_runtime.engine.surrogates import without_lone_surrogates

_REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
# Rendered behind a text that is to be continued, to find its end: the text itself, as short as "<",
# may stand in what a template writes after it too. The words are transformers' own.
_TEXT_ENDS = "CONTINUE_FINAL_MESSAGE_TAG "


class ChatTemplateError(Exception):
    """The template is broken, or it refuses a request; ``param`` names what it refuses."""

    def __init__(self, message: str, param: str = "messages") -> None:
        super().__init__(message)
        self.param = param


@final
class ChatTemplate:
    """One compiled template with the special tokens it may name. Engine's thread only."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """Compile ``source``.

        Raises:
            ChatTemplateError: It is not a valid template.
        """
        self._special_tokens = dict(special_tokens)
        # Its role is what system used to be; templates that do not know it refuse it, or worse.
        self._has_developers = "developer" in source
        environment = _environment()
        try:
            names = environment.parse(source).find_all(nodes.Name)
            self.renders_tools = any(name.name == "tools" for name in names)
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            msg = f"the model's chat template is not valid: {error}"
            raise ChatTemplateError(msg) from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
        continue_final: bool = False,
    ) -> str:
        """Return the prompt for ``messages`` and ``tools`` with further ``variables``.

        With ``continue_final`` nothing comes after the last message's text, so that the answer goes
        on from there; as transformers' ``continue_final_message``.

        Raises:
            ChatTemplateError: The template cannot render them, in its own words where it has some,
                or it does not know tools: they are never dropped.
        """
        if tools and not self.renders_tools:
            msg = (
                "the model's chat template does not support tools: switch them off in the client, "
                "or take a model that has the capability 'tools'"
            )
            raise ChatTemplateError(msg, "tools")
        prepared = [self._prepared(message) for message in messages]
        text = ""
        if continue_final:
            text = str(prepared[-1].get("content", ""))
            prepared[-1]["content"] = text + _TEXT_ENDS
        given = {
            **self._special_tokens,
            **(variables or {}),
            "messages": prepared,
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt and not continue_final,
        }
        try:
            # A call's arguments may hold them, as JSON that has become a string of Python's.
            prompt = without_lone_surrogates(self._rendered(given))
        except Exception as error:
            # A template is foreign code and may raise anything.
            msg = f"the model's chat template cannot render these messages: {error}"
            raise ChatTemplateError(msg) from error
        return _cut_after(prompt, text) if continue_final else prompt

    def _rendered(self, given: dict[str, Any]) -> str:
        """Render the tools as they were sent, or, if that fails, with what they leave out."""
        try:
            return self._template.render(given)
        except Exception:
            complete = [_complete_tool(tool) for tool in given["tools"] or ()]
            if not complete or complete == given["tools"]:
                raise
            return self._template.render({**given, "tools": complete})

    def _prepared(self, message: Mapping[str, Any]) -> dict[str, Any]:
        prepared = _prepared(message)
        if prepared.get("role") == "developer" and not self._has_developers:
            prepared["role"] = "system"
        return prepared


def _cut_after(prompt: str, final: str) -> str:
    at = prompt.rfind(_TEXT_ENDS.strip())
    if at < 0 or not final.strip() or final.strip() not in prompt:
        msg = "the last message cannot be continued: the chat template does not show its text"
        raise ChatTemplateError(msg)
    # Some templates strip a message's end; then the prompt ends where they do.
    return prompt[:at] if prompt.startswith(_TEXT_ENDS, at) else prompt[:at].rstrip()


def _prepared(message: Mapping[str, Any]) -> dict[str, Any]:
    present = {key: value for key, value in message.items() if value is not None}
    calls = present.get("tool_calls")
    if isinstance(calls, list | tuple):
        present["tool_calls"] = [_prepared_call(call) for call in calls]
    reasoning = next((present[key] for key in _REASONING_FIELDS if key in present), None)
    if reasoning is None:
        return present
    return {"thinking": reasoning, **present, "reasoning_content": reasoning}


def _prepared_call(call: Any) -> Any:
    """Return the call with its arguments as the object that templates iterate over.

    OpenAI has them as JSON text. Text that is no object stays: only the template knows if it
    can take that.
    """
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return call
    text = function.get("arguments") or "{}"
    try:
        arguments = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return call
    if not isinstance(arguments, dict):
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _complete_tool(tool: Any) -> Any:
    """Return the tool with the properties that some templates go through, if only none.

    OpenAI's functions without parameters need not say so.
    """
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        return tool
    parameters = function.get("parameters")
    if parameters is None:
        parameters = {"type": "object"}
    if not isinstance(parameters, Mapping) or parameters.get("properties") is not None:
        return tool
    complete = {**parameters, "properties": {}}
    return {**tool, "function": {**function, "parameters": complete}}


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationTag, "jinja2.ext.loopcontrols"],
        autoescape=False,
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["dict"] = _TemplateDict()
    environment.globals["namespace"] = _TemplateNamespace
    return environment


class _GenerationTag(Extension):
    """``{% generation %}`` marks what an assistant wrote, for training; here, just its body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_body", lineno=lineno)
        return nodes.CallBlock(call, [], [], body).set_lineno(lineno)

    def _body(self, caller: Any) -> Any:
        return caller()


class _TemplateDict:
    """``dict(...)`` and ``dict.fromkeys``, and no way from there to anything else."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


class _TemplateNamespace(Namespace):
    """A namespace that keeps templates away from Python's internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # Without a named ``self``, which a template may use as a keyword.
        self, *rest = args
        values = dict(*rest, **kwargs)
        for name in values:
            _refuse_underscore(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        super().__setitem__(name, value)


def _refuse_underscore(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        msg = f"a namespace cannot hold the underscore-prefixed attribute {name!r}"
        raise SecurityError(msg)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(layout: str) -> str:
    # Templates show the model the user's date: the one place where wall time is wanted.
    return datetime.now().strftime(layout)
