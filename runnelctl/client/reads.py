"""Reading what processors keep: the state of a key, all states of a processor, and how long a stream is.

Nothing here touches a cursor, and nothing is locked: a state is as of some commit, and those of different keys may be
of different moments while the topology is up.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from runnelctl import errors
from runnelctl.core import keys
from runnelctl.core.model import Processor, Stream, Topology
from runnelctl.records import codec_for

State = dict[str, Any]
#: Keys that one SCAN looks at, and so the most that one MGET reads.
SCAN_COUNT = 1_000


def declared_processor(of: Topology, name: str) -> Processor:
    """The processor of that name. Raises UsageError with the nearest name for one that the topology doesn't have."""
    if name not in of.processors:
        close = difflib.get_close_matches(name, of.processors, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(of.processors) or 'none'}"
        raise errors.UsageError(f"the topology {of.name!r} has no processor {name!r}; {hint}")
    return of.processors[name]


def state_key(of: Topology, processor: str, key: str) -> str:
    """Where the state of an event key is. Raises UsageError for an unknown processor."""
    stream = of.streams[declared_processor(of, processor).stream]
    partition = codec_for(stream).partition_of(key, b"")
    return keys.state(of.name, stream.name, partition, processor, key)


def decoded(text: Any) -> State:
    """A state as stored; an empty one for a key that has none."""
    state: State = {} if text is None else msgspec.json.decode(text)
    return state


class Sweep:
    """Which of the keys that a SCAN brings are states of one processor. One pass over all partitions: a SCAN looks at
    every key of the server whatever its pattern says."""

    def __init__(self, of: Topology, processor: str) -> None:
        stream = declared_processor(of, processor).stream
        ours = keys.state(of.name, stream, 0, processor, "")
        before, after = ours.rsplit(":0}", 1)
        self.pattern = f"{escaped(before)}:*}}{escaped(after)}*"
        self._name = re.compile(re.escape(f"{before}:") + r"[0-9]+\}" + re.escape(after))
        self._seen: set[bytes] = set()

    def fresh(self, found: Sequence[Any]) -> list[bytes]:
        """The Redis keys that are states and were not seen before: a SCAN may bring a key twice."""
        mine = [each for each in dict.fromkeys(found) if each not in self._seen and self._match(each)]
        self._seen.update(mine)
        return mine

    def pairs(self, names: Sequence[bytes], texts: Sequence[Any]) -> list[tuple[str, State]]:
        """(event key, state) of what an MGET brought; a state that was deleted meanwhile is left out."""
        return [(self._key(name), decoded(text)) for name, text in zip(names, texts, strict=True) if text is not None]

    def _match(self, name: bytes) -> re.Match[str] | None:
        return self._name.match(name.decode("utf-8", "surrogateescape"))

    def _key(self, name: bytes) -> str:
        found = self._match(name)
        assert found is not None
        return name.decode("utf-8", "surrogateescape")[found.end() :]


def escaped(text: str) -> str:
    """`text` with the characters that mean something in a Redis pattern made harmless."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)


def stream_keys(of: Topology, stream: Stream) -> list[str]:
    """The stream key of every partition."""
    return [keys.events(of.name, stream.name, partition) for partition in range(stream.partitions)]


def total(replies: Sequence[Any]) -> int:
    """Entries ever added, from the replies to an XINFO STREAM per partition; a partition without a key has none.
    Raises any other error among them."""
    added = 0
    for reply in replies:
        if isinstance(reply, Exception):
            if "no such key" not in str(reply).lower():
                raise reply
        else:
            added += int(reply["entries-added"])
    return added
