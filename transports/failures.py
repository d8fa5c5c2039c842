"""The closed list of failure codes that travel in ERROR bodies and that users may see."""

from __future__ import annotations

from enum import StrEnum


class FailureCode(StrEnum):
    """Stable words; the HTTP status and dialect types of each are in ``cortex_actors.http``."""

    INVALID_REQUEST = "invalid_request"
    MODEL_NOT_FOUND = "model_not_found"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    OVERLOADED = "overloaded"
    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_LOADING = "model_loading"
    LOAD_FAILED = "load_failed"
    INSUFFICIENT_DEVICES = "insufficient_devices"
    DEVICE_LOST = "device_lost"
    SOURCE_NOT_FOUND = "source_not_found"
    SOURCE_CORRUPT = "source_corrupt"
    NO_DISK_SPACE = "no_disk_space"
    SHUTTING_DOWN = "shutting_down"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    WORKER_DIED = "worker_died"
    STEP_FAILED = "step_failed"
    OUT_OF_MEMORY = "out_of_memory"
    POISONED_REQUEST = "poisoned_request"
    LINK_LOST = "link_lost"
    INTERNAL = "internal"
