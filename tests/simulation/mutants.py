"""The simulation must be able to fail: each of these takes one safeguard away, and some schedule must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from runnelctl.core import charges, membership, tenancy
from runnelctl.core.assign import assign
from runnelctl.core.charges import Charge
from runnelctl.core.tenancy import Claim, Move
from tests.simulation import keeper, lane
from tests.simulation.store import Store


class NoFence(Store):
    def _stranger(self, *_: Any) -> bool:
        return False


class EpochOnly(Store):
    def _stranger(self, own: dict[str, str], epoch: str, nonce: str) -> bool:
        return own.get("epoch") != epoch

    def _fresh_epoch(self, own: dict[str, str]) -> str:
        return str(int(own.get("epoch", "0")) + 1)


class CountedEpochs(Store):
    def _fresh_epoch(self, own: dict[str, str]) -> str:
        return str(int(own.get("epoch", "0")) + 1)


class NoSeqNoCursor(Store):
    def _repeated(self, *_: Any) -> bool:
        return False

    def _out_of_step(self, *_: Any) -> bool:
        return False


class NoHistory(Store):
    def _unknown(self, *_: Any) -> bool:
        return False


class NoTrimCheck(Store):
    def _trimmed(self, *_: Any) -> int:
        return 0


class NeverBusy(Store):
    def _busy(self, *_: Any) -> bool:
        return False


class LateBeatRejoins(Store):
    def _may_beat(self, *_: Any) -> bool:
        return True


class AnyoneReleases(Store):
    def _may_release(self, *_: Any) -> bool:
        return True


class ForgetfulProduce(Store):
    def _remembered(self, producer: str) -> None:
        return None


def _impatient(watch: membership.Watch, me: str, now: float, ttl_s: float) -> list[tuple[str, bytes]]:
    return _expired(watch, me, now, ttl_s / 4)


def _takes_from_the_living(me: str, claim: Claim, members: Any) -> Move:
    move = _decide(me, claim, members)
    return Move.TAKE if move is Move.WAIT and claim.target == me else move


def _looks_once(me: str, claim: Claim, members: Any) -> Move:
    move = _decide(me, claim, members)
    return Move.LEAVE if move is Move.WAIT and claim.target != me else move


def _never_forgets(me: str, claim: Claim, members: Any) -> Move:
    move = _decide(me, claim, members)
    return Move.LEAVE if move is Move.FORGET else move


def _all_are_sure(*args: Any) -> dict[int, Charge]:
    return {unit: Charge(each.first, each.last, sure=True) for unit, each in _charged(*args).items()}


def _beside_others(self: lane.Lane) -> Any:
    if not self.announced and not self.seq:
        self.announced = True
        yield from self._commit([])
        return False
    return True


def _drops_one(capacity: Any, owners: Any, turn: int) -> list[Any]:
    return [*assign(dict(capacity), owners, turn)[:-1], None]


def _no_deadline(self: lane.Lane) -> Any:
    """Starts whatever the host's deadline says."""
    return not (self.ended or self.resync or not self._wanted())
    yield


def _does_not_look(self: keeper.Keeper) -> None:
    """A new connection goes on where the last one broke."""


def _trusts_what_it_knows(self: lane.Lane) -> Any:
    """No new read session: goes on with what was read before the connection broke."""
    if not hasattr(self, "cursor"):
        yield from _session(self)
    self.resync = False


_expired, _decide, _charged, _session = membership.expired, tenancy.decide, charges.charged, lane.Lane._session

STORES: dict[str, type[Store]] = {
    "commit checks neither epoch nor nonce": NoFence,
    "commit checks the epoch only, which is a counter": EpochOnly,
    "epochs are counted": CountedEpochs,
    "commit checks neither seq nor cursor": NoSeqNoCursor,
    "commit does not look for the new cursor's entry": NoHistory,
    "commit does not notice what was trimmed": NoTrimCheck,
    "acquire takes from anybody": NeverBusy,
    "a late beat rejoins": LateBeatRejoins,
    "anybody may release": AnyoneReleases,
    "produce remembers nothing": ForgetfulProduce,
}
DECISIONS: dict[str, tuple[Any, str, Callable[..., Any] | float]] = {
    "expelled after a quarter of the ttl": (membership, "expired", _impatient),
    "leases are taken from the living": (tenancy, "decide", _takes_from_the_living),
    "a partition without an owner is looked at once": (tenancy, "decide", _looks_once),
    "leases that the board does not know are kept": (tenancy, "decide", _never_forgets),
    "every charge is sure, and suspects run beside others": (charges, "charged", _all_are_sure),
    "the last partition is given to nobody": (keeper, "_assigned", _drops_one),
    "the deadline is a ttl too late": (keeper, "MARGIN", -1.0),
    "lanes do not look at the deadline": (lane.Lane, "_may_start", _no_deadline),
    "a keeper's new connection does not look again": (keeper.Keeper, "_again", _does_not_look),
    "no new read session after a broken connection": (lane.Lane, "_session", _trusts_what_it_knows),
}


@contextmanager
def mutated(name: str) -> Iterator[type[Store]]:
    """With this safeguard gone; gives the store to use."""
    if name in STORES:
        yield STORES[name]
        return
    where, what, instead = DECISIONS[name]
    with ExitStack() as changes:
        changes.enter_context(mock.patch.object(where, what, instead))
        if where is charges:
            changes.enter_context(mock.patch.object(lane.Lane, "_alone", _beside_others))
        yield Store
