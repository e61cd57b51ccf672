"""Saying once that Redis went away, and once that it is back, however many connections of a process notice it."""

from __future__ import annotations

import asyncio
import logging


class Outage:
    """What is out of order at the moment, by whoever found out: a connection, or a kind of command that is refused."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._trouble: set[str] = set()
        self._resting: set[asyncio.Future[None]] = set()

    def began(self, who: str, why: object) -> None:
        """`who` found that Redis does not do its part; only the first of them is worth a line."""
        if not self._trouble:
            self._log.warning("Redis: %s; trying again until it is back", why)
        self._trouble.add(who)

    def over(self, who: str) -> None:
        """`who` got through. The last of those who had trouble is worth a line."""
        if who in self._trouble:
            self._trouble.discard(who)
            for each in self._resting:
                if not each.done():
                    each.set_result(None)
            if not self._trouble:
                self._log.warning("Redis is back")

    async def rest(self, seconds: float) -> None:
        """Wait so long before the next attempt to connect, or until another connection of the process got through."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=seconds)
        finally:
            self._resting.discard(waiter)
