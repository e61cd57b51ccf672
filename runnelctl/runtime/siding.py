"""Calling the handler for one event that is not the partition's next: a parked one, behind the cursor."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from runnelctl.event import Event
from runnelctl.runtime.context import Effect

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane


class Book:
    """What a call writes down of its event, kept apart from the lane's books: it moves no cursor. Ordinal 0 on the
    board says that the event in the handler is a parked one."""

    def __init__(self) -> None:
        self.first = self.done = self.committed = 0
        self.dirty_since = 1.0  # as if it were known already: nobody needs to be told
        self.effects: list[tuple[int, bytes, list[Effect]]] = []

    def mark_dirty(self, now: float) -> None:
        """There is nothing to commit but by the caller."""


class Shelf:
    """For an iterator handler that asks for a list: the lane would gather one, but here there is only the one event."""

    def put_back(self, events: list[Event]) -> None:
        """The caller has them and will offer them again."""


_OWN = {"ledger", "intake", "iteration", "batch_size", "batch_within_s"}


class Siding:
    """Stands in for its lane in a call: books, buffer and iteration are its own, everything else is the lane's."""

    def __init__(self, lane: Lane) -> None:
        self.__dict__["_lane"] = lane

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lane, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            self.__dict__[name] = value
        else:
            setattr(self._lane, name, value)

    async def call(self, event: Event) -> tuple[bool, list[Effect], BaseException | None]:
        """Call the handler once: whether it was started, what it did, and how it failed if it did. Not started: the
        lane has to stop, or to begin a new read session."""
        lane: Lane = self._lane
        book = self.ledger = Book()
        self.intake, self.iteration = Shelf(), None
        self.batch_size, self.batch_within_s = lane.slice.batch_size, lane.slice.batch_within_s
        stand_in: Any = self
        while True:
            if monotonic() >= lane.check_at and not await lane.pause():
                return False, [], None
            index, error = await lane.slice.call(stand_in, [event], 0)
            if index or error is not None:
                break
        if self.iteration is not None:
            await self.iteration.finish()
        return True, [effect for _, _, effects in book.effects for effect in effects], error
