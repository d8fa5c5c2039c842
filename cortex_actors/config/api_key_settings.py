"""Who may ask a daemon's HTTP server."""

from __future__ import annotations

from typing import Self, final

from pydantic import model_validator

from cortex_actors.config.fields import OptionalFilePath, Section


@final
class ApiKeySettings(Section):
    """The ``api_keys`` section; unless they are ``required``, whoever has none may ask too."""

    file: OptionalFilePath = None
    required: bool = False

    @model_validator(mode="after")
    def _required_from_somewhere(self) -> Self:
        if self.required and self.file is None:
            raise ValueError("required needs a file of keys")
        return self
