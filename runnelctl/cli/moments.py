"""Points in a stream as a user names them: an event's id, a time, or how long ago."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from runnelctl import errors
from runnelctl.topology import units

EntryId = tuple[int, int]

_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_MILLISECONDS = re.compile(r"[0-9]{12,14}")
_LARGEST = 2**64 - 1
FORMS = "an event's id (1763791234567-0), a time (2026-01-31T12:00, with Z for UTC) or how long ago (10m)"


@dataclass(frozen=True, slots=True)
class Moment:
    """Either `at`, the first id that counts, or `ago_ms` before the server's clock."""

    at: EntryId | None = None
    ago_ms: int = 0

    def first(self, server_ms: int) -> EntryId:
        """The first id that counts, given the server's clock."""
        return (max(0, server_ms - self.ago_ms), 0) if self.at is None else self.at


def parse(text: str, flag: str) -> Moment:
    """`10m` or `-10m`, `1763791234567-0`, a time in ISO 8601 (local, unless it has an offset), or milliseconds since
    1970. Raises UsageError, naming `flag`, for anything else."""
    ago_ms = units.duration_ms(text.removeprefix("-"))
    if ago_ms is not None:
        return Moment(ago_ms=ago_ms)
    if (found := _ID.fullmatch(text)) and max(map(int, found.groups())) <= _LARGEST:
        return Moment((int(found[1]), int(found[2])))
    if _MILLISECONDS.fullmatch(text):
        return Moment((int(text), 0))
    try:
        at_ms = int(datetime.datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        at_ms = -1
    if at_ms < 0 or text.isdigit():
        raise errors.UsageError(f"{flag} {text!r}: write {FORMS}")
    return Moment((at_ms, 0))


def entry_id(text: bytes | str) -> EntryId:
    """An id of Redis as numbers that compare as it does."""
    ms, _, seq = (text.decode() if isinstance(text, bytes) else text).partition("-")
    return int(ms), int(seq or 0)


def id_text(entry: EntryId) -> str:
    return f"{entry[0]}-{entry[1]}"
