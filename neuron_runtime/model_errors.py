"""What can be wrong with a model's files, in words that a user may be shown."""

from __future__ import annotations

from transports.failures import FailureCode
from transports.schemas.link import Failure


class ModelFilesError(Exception):
    """A model's files cannot be used; the message names the culprit."""

    code = FailureCode.LOAD_FAILED

    def failure(self) -> Failure:
        """Return what travels in place of an answer."""
        return Failure(self.code, str(self))


class SourceInvalid(ModelFilesError):
    """A source is not written as ``package://``, ``file://`` or ``hf://``."""

    code = FailureCode.INVALID_REQUEST


class SourceNotFound(ModelFilesError):
    """Nothing is where the source points to."""

    code = FailureCode.SOURCE_NOT_FOUND


class SourceCorrupt(ModelFilesError):
    """A file is truncated, is not what its name says, or contradicts itself."""

    code = FailureCode.SOURCE_CORRUPT


class NoDiskSpace(ModelFilesError):
    """The cache's file system has no room for the converted model."""

    code = FailureCode.NO_DISK_SPACE
