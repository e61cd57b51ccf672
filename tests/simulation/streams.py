"""A stream of Redis as a value: entries, how many there ever were, and its groups."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

Id = tuple[int, int]
HIGHEST: Id = (2**64 - 1, 2**64 - 1)


def parse(text: str) -> Id:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq or 0)


def text_of(entry_id: Id) -> str:
    return f"{entry_id[0]}-{entry_id[1]}"


class Exhausted(Exception):
    """There is no id left, as XADD says it."""


class Stream:
    """Ids in order with their fields beside them; `groups` is name -> last id delivered, entries read."""

    __slots__ = ("added", "deleted", "fields", "groups", "ids", "last")

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.fields: list[tuple[str, ...]] = []
        self.added = 0
        self.last: Id = (0, 0)
        self.deleted: Id = (0, 0)  # the highest id that XDEL took; XTRIM leaves no trace there
        self.groups: dict[str, tuple[Id, int]] = {}

    def copy(self) -> Stream:
        twin = Stream()
        twin.ids, twin.fields = list(self.ids), list(self.fields)
        twin.added, twin.last, twin.groups = self.added, self.last, dict(self.groups)
        twin.deleted = self.deleted
        return twin

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def gone(self) -> int:
        """Entries that are no longer there."""
        return self.added - len(self.ids)

    def add(self, fields: tuple[str, ...], now_ms: int) -> Id:
        """XADD with `*`. Raises Exhausted."""
        ms, seq = self.last
        if now_ms > ms:
            fresh = (now_ms, 0)
        elif self.last == HIGHEST:
            raise Exhausted
        else:
            fresh = (ms, seq + 1) if seq < 2**64 - 1 else (ms + 1, 0)
        self.append(fresh, fields)
        return fresh

    def append(self, entry_id: Id, fields: tuple[str, ...]) -> None:
        assert entry_id > self.last, "ids rise"
        self.ids.append(entry_id)
        self.fields.append(fields)
        self.last = entry_id
        self.added += 1

    def has(self, entry_id: Id) -> bool:
        at = bisect_left(self.ids, entry_id)
        return at < len(self.ids) and self.ids[at] == entry_id

    def after(self, entry_id: Id, count: int) -> list[Id]:
        at = bisect_right(self.ids, entry_id)
        return self.ids[at : at + count]

    def behind(self, entry_id: Id) -> int:
        """How many entries there are behind an id."""
        return len(self.ids) - bisect_right(self.ids, entry_id)

    def between(self, after: Id, last: Id) -> list[Id]:
        """The ids behind `after` up to and with `last`."""
        return self.ids[bisect_right(self.ids, after) : bisect_right(self.ids, last)]

    def trim(self, kept: int) -> int:
        """XTRIM MAXLEN = `kept`; how many went."""
        removed = max(0, len(self.ids) - kept)
        del self.ids[:removed]
        del self.fields[:removed]
        return removed

    def delete(self, entry_id: Id) -> None:
        """XDEL."""
        at = bisect_left(self.ids, entry_id)
        del self.ids[at]
        del self.fields[at]
        self.deleted = max(self.deleted, entry_id)
