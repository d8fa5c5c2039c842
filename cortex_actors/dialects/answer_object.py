"""What the objects of answers are declared as.

Encoders make plain dictionaries, which cost less for each token; that these are as declared is
checked in tests. All other answers are made of the declared types themselves. The OpenAPI document
is made from the declarations.
"""

from __future__ import annotations

import msgspec


class AnswerObject(msgspec.Struct, forbid_unknown_fields=True):
    """Base of the declarations: an object has the fields that are named, and no others."""
