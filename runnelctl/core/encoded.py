"""A record on its way into a stream."""

from __future__ import annotations

import msgspec


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A checked record: its bytes, its routing key ("" on a stream without one) and the partition it belongs to.

    With `codec: fields` it is stored as `fields` (name, value, …), and `data` only tells its size.
    """

    data: bytes
    key: str
    partition: int
    fields: tuple[bytes, ...] | None = None

    @property
    def stored(self) -> tuple[bytes, ...]:
        """The entry's fields but for key and headers."""
        return (b"data", self.data) if self.fields is None else self.fields
