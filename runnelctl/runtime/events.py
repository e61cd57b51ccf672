"""What an iterator handler loops over: `events`, `events.records()`, `events.take(n, within=s)`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from runnelctl.errors import UsageError
from runnelctl.event import Event

if TYPE_CHECKING:
    from runnelctl.runtime.iterating import Iteration

MOST_TAKEN = 100_000


class Events:
    """The events of one partition, in order, without end. An event is done when the next one is asked for."""

    def __init__(self, iteration: Iteration) -> None:
        self.iteration = iteration

    def __aiter__(self) -> AsyncIterator[Event]:
        self.iteration.size = 0
        head: AsyncIterator[Event] = self.iteration.chain.head
        return head

    async def __anext__(self) -> Event:
        return await self.__aiter__().__anext__()

    def records(self) -> Records:
        """The records instead of the events: each event's `value`."""
        return Records(self)

    def take(self, n: int, within: float = 1.0) -> Taken:
        """Lists of at most `n` events: what is there `within` so many seconds, but at least one. A list is done as a
        whole. Raises UsageError for an `n` below 1 or a `within` below 0."""
        if type(n) is not int or not 1 <= n <= MOST_TAKEN:
            raise UsageError(f"events.take: n must be a whole number from 1 to {MOST_TAKEN:,}, not {n!r}")
        if isinstance(within, bool) or not isinstance(within, int | float) or not within >= 0:
            raise UsageError(f"events.take: within must be a number of seconds, not {within!r}")
        return Taken(self.iteration, n, float(within))


class Taken:
    """Lists of events, as `Events.take` says."""

    def __init__(self, iteration: Iteration, n: int, within_s: float) -> None:
        self.iteration, self._n, self._within_s = iteration, n, within_s

    def __aiter__(self) -> AsyncIterator[list[Event]]:
        return self

    async def __anext__(self) -> list[Event]:
        iteration = self.iteration
        iteration.size, iteration.within_s = self._n, self._within_s
        taken: list[Event] = await iteration.chain.head.__anext__()
        return taken

    def records(self) -> Records:
        """Lists of records instead of lists of events."""
        return Records(self)


class Records:
    """Records, or lists of them, where `Events` or `Taken` has events."""

    def __init__(self, items: Events | Taken) -> None:
        self._items = items
        self._iterator: AsyncIterator[Any] = items

    def __aiter__(self) -> AsyncIterator[Any]:
        self._iterator = self._items.__aiter__()
        return self

    async def __anext__(self) -> Any:
        item = await self._iterator.__anext__()
        return [event.value for event in item] if isinstance(item, list) else item.value

    def take(self, n: int, within: float = 1.0) -> Records:
        """Lists of records; as `Events.take`."""
        if isinstance(self._items, Taken):
            raise UsageError("events.take: these are lists already; take once")
        return Records(self._items.take(n, within))
