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

    def server_ms(self) -> int:
        """The server's clock."""
        seconds, micros = self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def last(self, count: int) -> list[Entry]:
        """The last `count` wanted entries, oldest first."""
        with self._client.pipeline(transaction=False) as pipe:
            for name in self._names.values():
                pipe.execute_command("XREVRANGE", name, "+", "-", "COUNT", max(1, min(count, PAGE)))
            pages = pipe.execute()
        found: list[Entry] = []
        for (partition, name), page in zip(self._names.items(), pages, strict=True):
            entries = _entries(partition, page)
            if entries:
                self._read[partition] = entries[0].id
            found += self._backwards(partition, name, entries, count)
        return sorted(found, key=lambda each: each.order)[-count:] if count else []

    def _backwards(self, partition: int, name: str, entries: list[Entry], count: int) -> list[Entry]:
        found: list[Entry] = []
        while entries and len(found) < count:
            found += filter(self._wanted, entries)
            if len(found) < count:
                before = b"(" + entries[-1].id
                entries = _entries(
                    partition, self._client.execute_command("XREVRANGE", name, before, "-", "COUNT", PAGE)
                )
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
        while entries := _entries(partition, self._page(name, self._read[partition])):
            self._read[partition] = entries[-1].id
            yield from filter(self._wanted, entries)
            if len(entries) < PAGE:
                return

    def _page(self, name: str, after: bytes) -> Any:
        return self._client.execute_command("XRANGE", name, b"(" + after, "+", "COUNT", PAGE)

    def follow(self) -> list[Entry]:
        """What has come since, oldest first; waits a moment for something, and may return nothing."""
        names = list(self._names.values())
        read: Sequence[bytes] = list(self._read.values())
        reply = self._client.execute_command("XREAD", "COUNT", PAGE, "BLOCK", BLOCK_MS, "STREAMS", *names, *read)
        partitions = {name.encode(): partition for partition, name in self._names.items()}
        found: list[Entry] = []
        for name, page in _streams(reply):
            entries = _entries(partitions[name], page)
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
