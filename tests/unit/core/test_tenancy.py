"""core/tenancy.py: what a host does about one partition."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runnelctl.core.tenancy import Claim, Move, decide, strangers

IDLE = Claim(target="me", stopped=False, held=False, astray=False, blocked=False, holder="")
MEMBERS = ("me", "other")


@pytest.mark.parametrize(
    ("claim", "move"),
    [
        (IDLE, Move.TAKE),
        (replace(IDLE, held=True, holder="me"), Move.KEEP),
        (replace(IDLE, held=True, holder="me", astray=True), Move.GIVE_UP),
        (replace(IDLE, held=True, holder="me", target="other"), Move.GIVE_UP),
        (replace(IDLE, held=True, holder="me", stopped=True), Move.GIVE_UP),
        (replace(IDLE, blocked=True), Move.LEAVE),
        (replace(IDLE, stopped=True), Move.LEAVE),
        (replace(IDLE, holder="other"), Move.WAIT),
        (replace(IDLE, holder="gone"), Move.TAKE),
        (replace(IDLE, holder="me"), Move.TAKE),
        (replace(IDLE, target="other", holder="me"), Move.FORGET),
        (replace(IDLE, target="other", holder="other"), Move.LEAVE),
        (replace(IDLE, target=None), Move.LEAVE),
    ],
)
def test_the_move(claim: Claim, move: Move) -> None:
    assert decide("me", claim, MEMBERS) is move


@pytest.mark.parametrize("holder", ["", "gone"])
def test_a_partition_without_an_owner_is_never_left_out_of_sight(holder: str) -> None:
    """Two hosts that joined at the same moment each thought that it was the other's: it ran nowhere."""
    assert decide("me", replace(IDLE, target="other", holder=holder), MEMBERS) is Move.WAIT


def test_who_holds_a_lease_and_is_no_member_that_we_know_may_have_joined_since() -> None:
    assert strangers(["me/0", "new/1", ""], MEMBERS)
    assert not strangers(["me/0", "other/1", ""], MEMBERS)
