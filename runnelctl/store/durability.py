"""What `durability` asks of Redis beyond its word: so many replicas have it, or it is on the disk.

WAIT and WAITAOF go over the same connection straight after what they are about. They speak of what that connection
wrote last, so a script that finds its work done already writes something all the same (produce.lua, commit.lua): else a
repetition over a new connection would be vouched for by nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runnelctl.core.model import Durability

REPLICAS_WAIT_MS = 1_000
DISK_WAIT_MS = 3_000  # `appendfsync everysec` may take two seconds


class Demand:
    """`commands` to send after a write; `shortfall` reads their replies."""

    def __init__(self, wanted: Durability) -> None:
        self._wanted = wanted
        self.commands: list[tuple[str | int, ...]] = []
        if wanted.replicas:
            self.commands.append(("WAIT", wanted.replicas, REPLICAS_WAIT_MS))
        if wanted.disk:
            self.commands.append(("WAITAOF", 1, 0, DISK_WAIT_MS))

    @property
    def wait_ms(self) -> int:
        """How long an answer may take because of this."""
        return sum(int(command[-1]) for command in self.commands)

    def shortfall(self, replies: Sequence[Any]) -> str | None:
        """What is missing, as the end of a sentence; None if all is well. A reply may be an exception."""
        for command, reply in zip(self.commands, replies, strict=True):
            if command[0] == "WAITAOF":
                # A server that has no WAITAOF is only taken with appendfsync always, which needs none.
                if _unknown(reply):
                    continue
                if isinstance(reply, Exception) or reply[0] < 1:
                    return f"it did not reach the disk within {DISK_WAIT_MS / 1000:g} s{_why(reply)}"
            elif isinstance(reply, Exception) or reply < self._wanted.replicas:
                have = 0 if isinstance(reply, Exception) else reply
                wanted = f"{have} of {self._wanted.replicas} replica(s) had it"
                return f"{wanted} within {REPLICAS_WAIT_MS / 1000:g} s{_why(reply)}"
        return None


def demand(wanted: Durability | None) -> Demand | None:
    """None where nothing is asked for, so that it costs nothing."""
    return Demand(wanted) if wanted is not None else None


def _unknown(reply: Any) -> bool:
    return isinstance(reply, Exception) and "unknown command" in str(reply).lower()


def _why(reply: Any) -> str:
    return f" ({reply})" if isinstance(reply, Exception) else ""
