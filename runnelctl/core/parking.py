"""Parked events: how they are kept, and whether there is room for one more.

An element of a key's list is `<id>#<revision> <fields>`: the first word is its token, by which a replay names exactly
what it handled. The revision counts edits, so that an event which was mended meanwhile is not taken for the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from runnelctl.core.entry import with_record
from runnelctl.core.model import ParkingBounds

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


@dataclass(frozen=True, slots=True)
class Element:
    """One parked event as stored: its token, the id and the fields of its entry, and its bytes in Redis."""

    token: bytes
    event_id: bytes
    fields: list[bytes]
    size: int


def pack(event_id: bytes, fields: Sequence[bytes], revision: int = 0) -> bytes:
    """An event as an element of its key's list."""
    return b"%s#%d %s" % (event_id, revision, _encode(list(fields)))


def unpack(stored: bytes) -> Element:
    """What `pack` made. Raises ValueError for anything else."""
    token, space, rest = stored.partition(b" ")
    event_id, mark, revision = token.partition(b"#")
    if not space or not mark or not revision.isdigit():
        raise ValueError(f"not a parked event: {stored[:40]!r}")
    try:
        return Element(token, event_id, _decode(rest), len(stored))
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a parked event: {stored[:40]!r}: {error}") from None


def mended(element: Element, data: bytes) -> bytes:
    """The element with another record, under the next revision."""
    fields = with_record(element.fields, data)
    return pack(element.event_id, fields, int(element.token.rpartition(b"#")[2]) + 1)


def no_room(bounds: ParkingBounds, events: int, size: int, more: int) -> str | None:
    """Why an element of `more` bytes can't be parked beside `events` that take `size` bytes; None if it can."""
    if events >= bounds.events:
        return f"{events:,} events are parked here, as many as max_parked allows"
    if size + more > bounds.size_bytes:
        return f"{size:,} bytes are parked here, and {more:,} more would be beyond max_parked ({bounds.size_bytes:,})"
    return None
