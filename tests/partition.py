"""One partition of one processor on a real server, driven script by script, with replies as texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import redis

from runnelctl.core import keys
from runnelctl.store import scripts

Word = str | bytes | int
STREAM, PROCESSOR = "orders", "billing"


class Partition:
    """Every method is one script or one command; `dump` is everything that the topology has in Redis, byte by byte."""

    def __init__(self, client: redis.Redis, topology: str, number: int = 0) -> None:
        self.client: Any = client
        self.topology, self.number = topology, number
        self.tag = keys.tag(topology, STREAM, number)
        self.events = keys.events(topology, STREAM, number)
        self.own = keys.own(topology, STREAM, number, PROCESSOR)
        self.out = f"{self.tag}:out"
        self.parked = keys.parked(topology, STREAM, number, PROCESSOR)
        self.failures = keys.failures(topology, STREAM, number, PROCESSOR)

    def run(self, name: str, names: Sequence[Word], args: Sequence[Word]) -> Any:
        """Any script, with its reply's bytes as text."""
        return _texts(scripts.run(self.client, scripts.script(name), names, args))

    def _words(self, name: str, names: Sequence[Word], args: Sequence[Word]) -> list[str]:
        reply: list[str] = self.run(name, names, args)
        return reply

    # --- scripts

    def acquire(
        self, nonce: Word, owner: str = "a/0", dead: Word = "", start: str = "earliest", record: str = ""
    ) -> list[str]:
        names = [self.own, self.events, self.parked]
        return self._words("lease_acquire", names, [nonce, owner, dead, start, PROCESSOR, record])

    def commit(
        self, epoch: Word, nonce: Word, seq: Word, expected: str, new: str, n: int,
        *, release: bool = False, block: str = "", names: Sequence[Word] = (), effects: Sequence[Word] = (),
    ) -> list[str]:  # fmt: skip
        head = [epoch, nonce, seq, expected, new, n, PROCESSOR, int(release), block]
        return self._words("commit", [self.own, self.events, *names], [*head, *effects])

    def release(
        self, epoch: Word, nonce: Word, charge: Word = "", last: Word = "", *, sure: bool = False, death: str = ""
    ) -> int:
        args = [epoch, nonce, charge, last or charge, int(sure), death]
        released: int = self.run("lease_release", [self.own], args)
        return released

    def clear(self, event: str = "", mended: str = "", lost: bool = False) -> list[str]:
        return self._words("block_clear", [self.own, self.events], [event, mended, "1" if lost else "0"])

    def skip(self, event: str, *fields: Word) -> list[str]:
        return self._words("event_skip", [self.own, self.events, self.out], [event, PROCESSOR, *fields])

    # --- what is there

    def add(self, count: int = 1, **fields: str) -> list[str]:
        """Append events; their ids."""
        return [self.client.xadd(self.events, fields or {"data": "{}"}).decode() for _ in range(count)]

    def hash(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.client.hgetall(self.own).items()}

    def group(self) -> dict[str, Any]:
        """The processor's group as XINFO GROUPS shows it."""
        (found,) = [g for g in self.client.xinfo_groups(self.events) if g["name"].decode() == PROCESSOR]
        return dict(found)

    def outputs(self, name: str | None = None) -> list[dict[str, str]]:
        return [
            {k.decode(): v.decode() for k, v in fields.items()} for _, fields in self.client.xrange(name or self.out)
        ]

    def dump(self) -> dict[bytes, Any]:
        """All keys of the topology with their contents. Streams by their parts, so that nothing hides in encodings."""
        found: dict[bytes, Any] = {}
        for name in self.client.scan_iter(match=f"*{self.topology}*", count=1_000):
            if self.client.type(name) == b"stream":
                found[name] = (
                    self.client.xrange(name),
                    self.client.xinfo_stream(name, full=True),
                    self.client.xinfo_groups(name),
                )
            else:
                found[name] = self.client.dump(name)
        return found


def failed(event: str) -> str:
    """The start of a failure record that blocks a partition, as the runtime writes it."""
    return json.dumps({"event": event, "message": "no"}, separators=(",", ":"))


def _texts(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_texts(part) for part in reply]
    return reply.decode() if isinstance(reply, bytes) else reply
