"""The kinds of value a configuration key may have, each with its own words for what is wrong.

Paths are resolved while they are validated: ``~`` is the home directory, and a relative path is
relative to the file that names it (the validation context carries that directory).
"""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from cortex_actors.config.address import Address, parse_address
from cortex_actors.config.devices import DeviceChoice, parse_devices
from transports.endpoints import Endpoint, check_connect
from transports.endpoints import parse as parse_endpoint
from transports.errors import EndpointError

NOT_A_NAME = "not_a_name"
"""Kind of error whose words follow the value; those of others go before it."""


class Section(BaseModel):
    """One mapping of a configuration file: immutable, exact types, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        arbitrary_types_allowed=True,
    )


def home_directory() -> Path:
    """Return the user's home; an empty or missing ``HOME`` falls back to the user database."""
    return Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)


def expand_path(text: str, base: Path) -> Path:
    """Return ``text`` as an absolute path, ``~`` expanded, relative to ``base``."""
    if text == "~" or text.startswith("~/"):
        return home_directory() / text[2:]
    return base / text


def default_runtime_dir() -> Path:
    """Return where sockets go: ``$XDG_RUNTIME_DIR/cortex``, else this user's name in tmp."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "cortex"
    return Path(tempfile.gettempdir()) / f"cortex-{os.getuid()}"


def matching(pattern: str, words: str, kind: str = "unlike") -> AfterValidator:
    """Return what refuses text that is not wholly like ``pattern``; ``words`` say what it is."""
    whole = re.compile(pattern)

    def check(value: str) -> str:
        if whole.fullmatch(value) is None:
            raise PydanticCustomError(kind, "{words}", {"words": words})
        return value

    return AfterValidator(check)


def _text(value: Any, example: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"should be text, such as {example}")
    return value


def _address(value: Any) -> Address:
    if isinstance(value, Address):
        return value
    return parse_address(_text(value, "127.0.0.1:8080"))


def _endpoint(value: Any) -> Endpoint:
    text = _text(value, "tcp://127.0.0.1:13132")
    try:
        endpoint = parse_endpoint(text)
    except EndpointError as error:
        raise ValueError(str(error)) from error
    if endpoint.scheme == "inproc":
        raise ValueError(f"should start with tcp:// or ipc://, not '{text}'")
    return endpoint


def _listen_endpoint(value: Any) -> str:
    return str(_endpoint(value))


def _connect_endpoint(value: Any) -> str:
    endpoint = _endpoint(value)
    try:
        check_connect(endpoint)
    except EndpointError as error:
        raise ValueError(str(error)) from error
    return str(endpoint)


def _path(value: Any, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    directory: Path = (info.context or {}).get("directory", Path())
    return expand_path(_text(value, "~/some/where"), directory)


def _optional_path(value: Any, info: ValidationInfo) -> Path | None:
    return None if value is None else _path(value, info)


def _runtime_dir(value: Any, info: ValidationInfo) -> Path:
    return default_runtime_dir() if value == "auto" else _path(value, info)


def _devices(value: Any) -> DeviceChoice:
    if isinstance(value, DeviceChoice):
        return value
    return parse_devices(_text(value, "auto, cpu, cpu:3 or cuda:0,1"))


def _origins(value: Any) -> Any:
    if value in ("*", ["*"]):
        return ("*",)
    if isinstance(value, list) and "*" in value:
        raise ValueError("should be a list of origins, or '*' alone")
    return value


ListenAddress = Annotated[Address, BeforeValidator(_address)]
ListenEndpoint = Annotated[str, BeforeValidator(_listen_endpoint)]
ConnectEndpoint = Annotated[str, BeforeValidator(_connect_endpoint)]
FilePath = Annotated[Path, BeforeValidator(_path)]
OptionalFilePath = Annotated[Path | None, BeforeValidator(_optional_path)]
RuntimeDirectory = Annotated[Path, BeforeValidator(_runtime_dir)]
Devices = Annotated[DeviceChoice, BeforeValidator(_devices)]
NAME_LETTERS = "letters, digits and . _ - after the first"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
Name = Annotated[str, matching(NAME, f"is not a name ({NAME_LETTERS})", NOT_A_NAME)]
ModelId = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}",
        "is not a name (letters, digits and . _ - : / after the first)",
        NOT_A_NAME,
    ),
]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]

StallSeconds = Annotated[float, Field(ge=30, le=86_400, allow_inf_nan=False)]
"""Three of the notes by which an engine tells that a text goes on, at least."""
Origin = Annotated[
    str,
    matching(
        r"\*|[a-z][a-z0-9+.-]*://[^/\s,*]+", "should be an origin, such as https://chat.example"
    ),
]
Origins = Annotated[tuple[Origin, ...], BeforeValidator(_origins), Field(strict=False)]
LogLevel = Literal["debug", "info", "warning", "error"]
