"""What a sender keeps of one partition: the queue, the chunk in flight and its numbers, and whom to tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from runnelctl import errors
from runnelctl.core import keys
from runnelctl.core.model import Stream
from runnelctl.store.scripts import Word

CHUNK_ENTRIES = 500
CHUNK_BYTES = 1024 * 1024
#: How long Redis remembers a producer's last chunk; far longer than any deadline of a send.
REMEMBER_MS = 3_600_000


class Batch:
    """The records of one caller: the ids they got, in the caller's order, and the first error, if any.

    `on_done` is called once, with the batch, when every record is stored, refused or of unknown fate.
    """

    __slots__ = ("error", "ids", "left", "on_done")

    def __init__(self, size: int, on_done: Callable[[Batch], None] | None = None) -> None:
        self.ids: list[str | None] = [None] * size
        self.left = size
        self.error: errors.RunnelctlError | None = None
        self.on_done = on_done

    def settle(self, index: int, outcome: str | errors.RunnelctlError) -> None:
        """Note what came of one record. An unknown fate outweighs a refusal: the caller must hear of it."""
        if isinstance(outcome, str):
            self.ids[index] = outcome
        elif self.error is None or isinstance(outcome, errors.SendOutcomeUnknown):
            self.error = outcome
        self.left -= 1
        if not self.left and self.on_done:
            self.on_done(self)


#: fields of the entry, bytes, the batch it belongs to and its place there. A tuple: one per record, on the hot path.
Entry = tuple[tuple[Word, ...], int, Batch, int]


class Chunk:
    """Entries of one lane under consecutive numbers, and the arguments that carry them, the same at every attempt."""

    __slots__ = ("args", "attempts", "deadline_ms", "doubtful", "entries", "first", "not_before_ms", "size")

    def __init__(self, first: int, capacity: int, entries: list[Entry], size: int, deadline_ms: float) -> None:
        self.first, self.entries, self.size, self.deadline_ms = first, entries, size, deadline_ms
        self.attempts, self.doubtful, self.not_before_ms = 0, False, 0.0
        self.args: list[Word] = [first, capacity, REMEMBER_MS, len(entries)]
        for fields, *_ in entries:
            self.args.append(len(fields))
            self.args.extend(fields)


class Lane:
    """One partition as one producer sees it."""

    __slots__ = ("chunk", "keys", "next", "partition", "queue", "stream")

    def __init__(self, topology: str, stream: Stream, partition: int, producer_id: str) -> None:
        self.stream, self.partition = stream, partition
        self.queue: deque[Entry] = deque()
        self.chunk: Chunk | None = None
        self.next = 1
        self.keys = ("", "")
        self.rename(topology, producer_id)

    def rename(self, topology: str, producer_id: str) -> None:
        """Count from 1 again under another id, so that nothing of the old numbers can be mistaken for ours."""
        name, partition = self.stream.name, self.partition
        self.keys = (keys.events(topology, name, partition), keys.producer(topology, name, partition, producer_id))
        self.next = 1

    def cut(self, deadline_ms: float) -> Chunk:
        """Take the next chunk off the queue and number its entries. Never more than the partition could ever hold."""
        most = min(CHUNK_ENTRIES, max(self.stream.capacity, 1))
        queue, size = self.queue, 0
        entries: list[Entry] = []
        while queue and len(entries) < most and (not entries or size + queue[0][1] <= CHUNK_BYTES):
            entry = queue.popleft()
            entries.append(entry)
            size += entry[1]
        self.chunk = Chunk(self.next, self.stream.capacity, entries, size, deadline_ms)
        self.next += len(entries)
        return self.chunk

    def drop(self, error: errors.RunnelctlError, behind: errors.RunnelctlError) -> None:
        """Settle the chunk with `error` and what is queued behind it with `behind`."""
        chunk, queue = self.chunk, list(self.queue)
        self.chunk = None
        self.queue.clear()
        if chunk:
            # Nothing of it is stored, or the lane gets another name: either way these numbers are free again.
            self.next = chunk.first
        for _, _, batch, index in chunk.entries if chunk else ():
            batch.settle(index, error)
        for _, _, batch, index in queue:
            batch.settle(index, behind)
