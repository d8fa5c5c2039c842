"""Who may ask a daemon's HTTP server."""

from __future__ import annotations

from typing import final

from cortex_actors.config.fields import OptionalFilePath, Section


@final
class ApiKeySettings(Section):
    """The ``api_keys`` section; unless they are ``required``, whoever has none may ask too."""

    file: OptionalFilePath = None
    required: bool = False
