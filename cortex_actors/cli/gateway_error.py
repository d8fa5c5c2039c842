"""Why a daemon could not be asked."""

from __future__ import annotations

from typing import final


@final
class GatewayError(Exception):
    """The daemon does not answer, or refused (``status``); the text is for the user."""

    code = "gateway"

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status
