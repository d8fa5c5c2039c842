"""Where the responses of the Responses API are kept, and how many."""

from __future__ import annotations

from typing import Annotated, final

from pydantic import Field

from cortex_actors.config.fields import Count, OptionalFilePath, Section


@final
class StoredResponses(Section):
    """The ``stored_responses`` section; ``max_count: 0`` keeps none."""

    file: OptionalFilePath = None
    max_count: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    max_mb: Count = 512
    max_age_h: Count = 720
