"""A place that a process fills, again and again: the keeper's or a slot's. And what a host's ends mean."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from runnelctl import errors
from runnelctl.core.lifecycle import History
from runnelctl.core.plan import Slot
from runnelctl.runtime import board as cells
from runnelctl.runtime.child import Child

#: What the keeper found -> the exit code of `up`.
EXITS = {
    cells.OUTCOME_DRAINED: errors.EXIT_OK,
    cells.OUTCOME_HALTED: errors.EXIT_HALTED,
    cells.OUTCOME_DOWN: errors.EXIT_OK,
    cells.OUTCOME_BLOCKED: errors.EXIT_ERROR,
}
#: What the keeper found -> how it is said.
REASONS = {
    cells.OUTCOME_DRAINED: "everything is handled",
    cells.OUTCOME_HALTED: "halted by policy; `runnelctl replay` shows what and why",
    cells.OUTCOME_DOWN: "asked to stop by `runnelctl down`",
    cells.OUTCOME_BLOCKED: "what is left is quarantined or paused; `runnelctl status` shows what and why",
}


@dataclass(slots=True)
class Post:
    """The keeper's place (slot None) or a slot's, and the process in it."""

    slot: Slot | None
    label: str
    body: Callable[[int], int]  # incarnation -> exit code, in the child
    child: Child | None = None
    incarnation: int = 0
    began: float = 0.0
    due: float | None = 0.0  # when to start it; None: not to be started
    history: History = field(default_factory=History)
    cause: int = cells.CAUSE_NONE  # set when we kill it
    judged: float = 0.0  # when we did
    tail: deque[str] = field(default_factory=deque)
    retired: bool = False  # the file has no such process any more: when it has ended, no other follows
    leave_since: float | None = None  # since when a process of an older file has been asked to leave

    @classmethod
    def of_keeper(cls, body: Callable[[], int]) -> Post:
        return cls(None, "runnelctl", lambda _: body())

    @classmethod
    def of_slot(cls, slot: Slot, body: Callable[[int, int], int]) -> Post:
        return cls(slot, slot.name, lambda incarnation: body(slot.index, incarnation))

    def revive(self, board: cells.Board, now: float) -> None:
        """Somebody replayed: a slot that was given up after a crash loop gets another chance."""
        if self.slot is not None and self.child is None and self.due is None:
            board.q[board.slot(self.slot.index) + cells.S_CAUSE] = cells.CAUSE_NONE
            self.due, self.history = now, History()

    @property
    def process_name(self) -> str:
        """What `ps` calls the process."""
        return "keeper" if self.slot is None else self.slot.name

    @property
    def color(self) -> int:
        """Which colour its output has; -1 for our own."""
        return -1 if self.slot is None else self.slot.index
