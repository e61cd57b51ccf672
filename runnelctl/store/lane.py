"""What a sender keeps of one partition: the queue, the chunk in flight and its numbers, and whom to tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from runnelctl import errors
from runnelctl.core import keys
from runnelctl.core.encoded import Encoded
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

    def store(self, index: int, entry_id: str) -> None:
        """Note the id of a record that is stored."""
        self.ids[index] = entry_id
        self.left -= 1
        if not self.left and self.on_done:
            self.on_done(self)

    def refuse(self, index: int, error: errors.RunnelctlError) -> None:
        """Note why a record is not known to be stored. An unknown fate outweighs a refusal: the caller must hear it."""
        if self.error is None or isinstance(error, errors.SendOutcomeUnknown):
            self.error = error
        self.left -= 1
        if not self.left and self.on_done:
            self.on_done(self)


#: A record, its headers as fields, the batch it belongs to and its place there. A tuple, as there is one per record.
Entry = tuple[Encoded, tuple[str | bytes, ...], Batch, int]


class Chunk:
    """Entries of one lane under consecutive numbers, and the arguments that carry them, the same at every attempt."""

    __slots__ = ("args", "attempts", "deadline_ms", "doubtful", "entries", "first", "hastened", "not_before_ms", "size")

    def __init__(self, first: int, capacity: int, deadline_ms: float) -> None:
        self.first, self.deadline_ms = first, deadline_ms
        self.entries: list[Entry] = []
        self.args: list[Word] = [first, capacity, REMEMBER_MS, 0]
        self.size, self.attempts, self.doubtful, self.not_before_ms = 0, 0, False, 0.0
        self.hastened = False

    def fill(self, queue: deque[Entry], most: int) -> None:
        """Take entries off the queue: at most so many, and no more bytes than one call of a script should carry."""
        entries, args, size = self.entries, self.args, 0
        while queue and len(entries) < most:
            encoded, headers, _, _ = entry = queue[0]
            data, key = encoded.data, encoded.key
            size += len(data) + len(key)
            if size > CHUNK_BYTES and entries:
                break
            entries.append(entry)
            queue.popleft()
            if encoded.fields is not None:
                args += (b"", key, f"f{len(encoded.fields) + len(headers)}", *encoded.fields, *headers)
            elif headers:
                args += (data, key, len(headers), *headers)
            else:
                args += (data, key, b"0")
        args[3] = len(entries)
        self.size = size

    def hasten(self, now_ms: float) -> None:
        """Others of its sender got through: don't wait any longer. Only once, or a chunk whose own server is away while
        others answer would know no pause at all."""
        if not self.hastened:
            self.hastened, self.not_before_ms = True, min(self.not_before_ms, now_ms)


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
        self.chunk = Chunk(self.next, self.stream.capacity, deadline_ms)
        self.chunk.fill(self.queue, min(CHUNK_ENTRIES, max(self.stream.capacity, 1)))
        self.next += len(self.chunk.entries)
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
            batch.refuse(index, error)
        for _, _, batch, index in queue:
            batch.refuse(index, behind)
