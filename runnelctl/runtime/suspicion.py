"""Events that died under their process: they are tried again with nothing else in flight, so that the next death names
its cause (core/charges.py says who is suspected).

Rare, so that everything here may be slow; lanes that suspect nothing only look whether the slice is reserved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runnelctl.runtime import board as cells
from runnelctl.runtime.neighbours import Turn

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane
    from runnelctl.runtime.slice import Slice


ELSEWHERE_S = 0.05


class Trial:
    """Who has the slice for itself, if anybody: `lane` is about to try its suspect, and the others pause. One suspect
    is tried at a time on a machine, since it may take all of the machine down, and the others would be charged."""

    def __init__(self, slice_: Slice, turn: Turn) -> None:
        self._slice, self._turn = slice_, turn
        self.lane: Lane | None = None

    def may_begin(self, lane: Lane) -> bool:
        """Reserve the slice for a lane's suspect. True once no other lane has anything in a handler."""
        if self.lane is None and self._turn.take():
            self.lane = lane
            for other in self._slice.lanes.values():
                other.check_at = 0.0
        return self.lane is lane and not self._busy_beside(lane)

    async def rest(self, lane: Lane) -> None:
        """Wait until there may be a reason to ask `may_begin` again."""
        lane.idle()
        await lane.wait(ELSEWHERE_S if self.lane is None else None)

    def bars(self, lane: Lane) -> bool:
        """Whether the slice is reserved for another lane."""
        return self.lane is not None and self.lane is not lane

    def quiet(self, lane: Lane) -> None:
        """A lane has nothing in a handler; one that waits for quiet may go on."""
        if self.lane is not None and self.lane is not lane:
            self.lane.nudge()

    def over(self, lane: Lane) -> None:
        """The lane has no suspect (any more)."""
        if self.lane is lane:
            self.lane = None
            self._turn.give_back()
            for other in self._slice.lanes.values():
                other.nudge()

    def _busy_beside(self, lane: Lane) -> bool:
        since = self._slice.board.d
        return any(since[other.base + cells.U_SINCE] for other in self._slice.lanes.values() if other is not lane)


def convicted(lane: Lane) -> bool:
    """The next event killed its process as often as it may, at least once with nothing else in flight. What the policy
    makes of it has to be committed before anything else starts: did the next one kill the process first, that would be
    the suspect, and this one had all its tries again, for ever, in turn."""
    session = lane.session
    is_next = session.suspect == lane.ledger.done + 1
    return is_next and session.sure and session.tries >= lane.slice.processor.retry.attempts


async def conclude(lane: Lane) -> bool:
    """If the suspect that this lane tries is done, see that it is committed, and let the others go on: were the machine
    lost in between, the suspect would be charged with it. True: look around first, time has passed."""
    ledger, suspect = lane.ledger, lane.session.suspect
    if suspect > ledger.done:
        return False
    if suspect > ledger.committed:
        lane.idle()
        await ledger.progress()
        return True
    lane.slice.trial.over(lane)
    return False


async def careful_size(lane: Lane, size: int) -> int:
    """How many of the next `size` events to take, 0 to look again. An event under suspicion runs straight after a
    commit and alone in its slice: if it kills the process again, the board names it and nobody else is charged."""
    ledger, suspect = lane.ledger, lane.session.suspect
    if ledger.done < lane.alone_until or ledger.done < lane.last_try_until:
        size = 1
    if suspect <= ledger.done:
        return size
    if suspect > ledger.done + 1:
        return min(size, suspect - ledger.done - 1)
    lane.idle()  # for as long as it takes: were Redis away, the last event would be put down for running so long
    if ledger.done > ledger.committed:
        await ledger.progress()
        return 0
    if convicted(lane):
        return 1
    if not lane.slice.trial.may_begin(lane):
        await lane.slice.trial.rest(lane)
    elif not ledger.seq:
        await ledger.announce()
    else:
        return 1
    return 0
