"""A record on its way into a stream."""

from __future__ import annotations

import msgspec


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A checked record: its JSON, its routing key ("" on a stream without one) and the partition it belongs to."""

    data: bytes
    key: str
    partition: int
