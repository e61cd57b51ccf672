"""What a host does about one partition of one processor, from what it should have, holds, and sees in Redis."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass


class Move(enum.Enum):
    """What to do about the lease now."""

    KEEP = "keep"
    GIVE_UP = "give up"  # ask the slice to finish, commit and release
    LEAVE = "leave"  # not ours to have, or blocked
    FORGET = "forget"  # release what Redis says is ours and our board does not know
    WAIT = "wait"  # look again: its owner will let go, or whose turn it is will take it
    TAKE = "take"


def strangers(owners: Iterable[str], members: Collection[str]) -> bool:
    """Whether somebody holds a lease (`member/slice`, '' for nobody) who is not among the members that we know.

    It may be gone, or may have joined since we asked, and then its lease is not ours to take. Who holds one joined
    before, so a list of members that is read after the leases tells.
    """
    return any(owner and owner.rpartition("/")[0] not in members for owner in owners)


@dataclass(frozen=True, slots=True)
class Claim:
    """One unit as a host sees it.

    `target` is the member that should run it, None for nobody; `stopped`: nobody may, by a halt or a pause. `held`: its
    lease is on our board; `astray` then, if it should run in another slice or somebody moved its cursor. `blocked` by a
    failure record. `holder` is the member that has the lease in Redis, '' for none.
    """

    target: str | None
    stopped: bool
    held: bool
    astray: bool
    blocked: bool
    holder: str


def decide(me: str, claim: Claim, members: Collection[str]) -> Move:
    """The move of host `me`. A lease is taken from nobody who is still a member, but for ourselves: our board knows
    nothing of it after an expulsion, a keeper's death or a grant whose answer was lost.

    Nobody leaves a partition that has no owner out of sight. Targets are sticky, so they follow from who holds what,
    and two hosts that looked a moment apart may each think that it is the other's to take. Both look again, and then
    they see the same.
    """
    here = claim.target == me and not claim.stopped
    if claim.held:
        return Move.KEEP if here and not claim.astray else Move.GIVE_UP
    if claim.blocked:
        return Move.LEAVE
    owned_elsewhere = claim.holder in members and claim.holder != me
    if here:
        return Move.WAIT if owned_elsewhere else Move.TAKE
    if claim.holder == me:
        return Move.FORGET
    return Move.LEAVE if owned_elsewhere or claim.stopped or claim.target is None else Move.WAIT
