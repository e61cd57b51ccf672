"""Dead letters as what they were: which event of which processor, and why it failed. Read from their headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runnelctl.core import parking
from runnelctl.core.model import Topology

_DEAD = b"h:dead-"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: where it is, and whose event it was. `key` is empty where it had none that could be read."""

    stream: str
    letter_id: str
    processor: str
    partition: int
    key: str
    event_id: str
    element: bytes
    headers: Mapping[str, str]

    def mark(self, number: int) -> str:
        """Its name among those that came back; `number` is its partition in the dead letter stream."""
        return f"{self.stream}:{number}:{self.letter_id}"

    def record(self) -> dict[str, Any]:
        """A failure record (SPEC section 5) of what its headers say."""
        attempts = self.headers.get("attempts", "")
        return {
            "event": self.event_id,
            "key": self.key,
            "type": self.headers.get("type", ""),
            "message": self.headers.get("message", ""),
            "traceback": "",
            "attempts": int(attempts) if attempts.isdigit() else 0,
            "kind": "dead letter",
            "processor": self.processor,
            "partition": self.partition,
            "time": self.headers.get("time", ""),
            "state": "parked",
        }


def read(topology: Topology, stream: str, letter_id: bytes, fields: Sequence[bytes]) -> Letter | None:
    """The entry as a dead letter of a processor of the topology; None if it is none."""
    pairs = [(fields[i], fields[i + 1]) for i in range(0, len(fields) - 1, 2)]
    headers = {
        name[len(_DEAD) :].decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in pairs
        if name.startswith(_DEAD)
    }
    processor = topology.processors.get(headers.get("processor", ""))
    number, event_id = headers.get("partition", ""), headers.get("event", "")
    if processor is None or processor.stream != headers.get("stream") or not number.isdigit() or not event_id:
        return None
    if int(number) >= topology.streams[processor.stream].partitions:
        return None
    # As it was sent: without the headers that it got as a letter, and without a key if it had none.
    kept = [pair for pair in pairs if not pair[0].startswith(_DEAD) and pair != (b"key", b"")]
    key = next((value for name, value in kept if name == b"key"), b"").decode("utf-8", "surrogateescape")
    element = parking.pack(event_id.encode(), [part for pair in kept for part in pair])
    return Letter(
        stream, letter_id.decode(), processor.name, int(number), key, event_id, element, headers
    )  # fmt: skip
