"""What every message body is: a frozen, tagged msgspec struct.

The tag (the class name) is the only type information on the wire and is looked up in a closed
table, so a peer can never name code of ours. Unknown fields are ignored, which lets a newer peer
add some.
"""

from __future__ import annotations

import msgspec


class Body(msgspec.Struct, frozen=True, tag=True, tag_field="t", omit_defaults=True):
    """Base of all message bodies. Immutable, safe to hand between threads."""
