"""Entries of a stream for somebody who looks and touches nothing: the last ones, those since a moment, those to come.

Partitions are merged by id, which begins with the time at which Redis took the entry.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

PAGE = 500
PAGE_BYTES = 32 * 1024 * 1024  # of a page of each partition together; of each there is at least one entry
FIRST_PAGE = 50  # as long as nothing is known of their size
BLOCK_MS = 2_000  # below the client's timeout

EntryId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its partition, its id as Redis writes it, and its fields and values in turn."""

    partition: int
    id: bytes
    fields: list[bytes]

    @property
    def order(self) -> tuple[EntryId, int]:
        """By time, then by partition."""
        ms, _, seq = self.id.partition(b"-")
        return (int(ms), int(seq)), self.partition


Wanted = Callable[[Entry], bool]


class Excerpt:
    """Reads some partitions of a stream. `names`: partition -> its stream's key. Keeps how far it has read, so that
    `follow` goes on behind that. Everything raises redis-py's errors, and can be called again after one."""

    def __init__(self, client: redis.Redis, names: dict[int, str], wanted: Wanted) -> None:
        self._client: Any = client
        self._names = names
        self._wanted = wanted
        self._read = dict.fromkeys(names, b"0-0")
        self._most = FIRST_PAGE  # of the next page

    def server_ms(self) -> int:
        """The server's clock."""
        seconds, micros = self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def last(self, count: int) -> list[Entry]:
        """The last `count` wanted entries, oldest first. Of many partitions few are read at once, and no more kept."""
        found: list[Entry] = []
        waiting, together = list(self._names.items()), 1
        while waiting:
            asked = max(1, min(count, self._most))
            partitions, waiting = waiting[:together], waiting[together:]
            with self._client.pipeline(transaction=False) as pipe:
                for _, name in partitions:
                    pipe.execute_command("XREVRANGE", name, "+", "-", "COUNT", asked)
                pages = pipe.execute()
            for (partition, name), page in zip(partitions, pages, strict=True):
                entries = self._looked_at(_entries(partition, page))
                if entries:
                    self._read[partition] = entries[0].id
                found += self._backwards(partition, name, entries, count)
            found = sorted(found, key=lambda each: each.order)[-count:] if count else []
            together = max(1, self._most // asked)
        return found

    def _backwards(self, partition: int, name: str, entries: list[Entry], count: int) -> list[Entry]:
        found: list[Entry] = []
        while entries and len(found) < count:
            found += filter(self._wanted, entries)
            if len(found) < count:
                before = b"(" + entries[-1].id
                page = self._client.execute_command("XREVRANGE", name, before, "-", "COUNT", self._most)
                entries = self._looked_at(_entries(partition, page))
        return found[:count]

    def since(self, first: EntryId) -> Iterator[Entry]:
        """Every wanted entry from the id `first` on, oldest first, a page of each partition in memory at a time."""
        runs = [self._forwards(partition, name, first) for partition, name in self._names.items()]
        return heapq.merge(*runs, key=lambda each: each.order)

    def last_since(self, first: EntryId, count: int) -> list[Entry]:
        """The last `count` of `since`."""
        return list(deque(self.since(first), maxlen=count))

    def _forwards(self, partition: int, name: str, first: EntryId) -> Iterator[Entry]:
        self._read[partition] = _before(first)
        while True:
            asked, after = self._most, b"(" + self._read[partition]
            page = self._client.execute_command("XRANGE", name, after, "+", "COUNT", asked)
            entries = self._looked_at(_entries(partition, page))
            if entries:
                self._read[partition] = entries[-1].id
                yield from filter(self._wanted, entries)
            if len(entries) < asked:
                return

    def _looked_at(self, entries: list[Entry]) -> list[Entry]:
        """The same; the next page is as long as their size allows, and no more than twice as long as this."""
        if entries:
            mean = sum(sum(map(len, each.fields)) for each in entries) / len(entries)
            self._most = max(1, min(PAGE, 2 * self._most, int(PAGE_BYTES / max(4, len(self._names)) / max(mean, 1))))
        return entries

    def follow(self) -> list[Entry]:
        """What has come since, oldest first; waits a moment for something, and may return nothing."""
        names = list(self._names.values())
        read: Sequence[bytes] = list(self._read.values())
        reply = self._client.execute_command("XREAD", "COUNT", self._most, "BLOCK", BLOCK_MS, "STREAMS", *names, *read)
        partitions = {name.encode(): partition for partition, name in self._names.items()}
        found: list[Entry] = []
        for name, page in _streams(reply):
            entries = self._looked_at(_entries(partitions[name], page))
            self._read[partitions[name]] = entries[-1].id
            found += filter(self._wanted, entries)
        return sorted(found, key=lambda each: each.order)


def _before(first: EntryId) -> bytes:
    """The id right before this one."""
    ms, seq = first
    if seq:
        return b"%d-%d" % (ms, seq - 1)
    return b"%d-%d" % (ms - 1, 2**64 - 1) if ms else b"0-0"


def _streams(reply: Any) -> Any:
    return reply.items() if isinstance(reply, dict) else reply or ()


def _entries(partition: int, page: Any) -> list[Entry]:
    return [Entry(partition, event_id, _flat(fields)) for event_id, fields in page if fields]


def _flat(fields: Any) -> list[bytes]:
    """redis-py makes a dict of an entry's fields; events want them as they came."""
    return [part for pair in fields.items() for part in pair] if isinstance(fields, dict) else list(fields)
