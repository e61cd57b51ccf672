"""The simulation must be able to fail: each of these takes one safeguard away, and some schedule must notice.

`python -m tests.simulation.mutants` shows how many schedules that takes, from several first seeds; with `--write` it
also keeps a seed for each in seeds.json, where the tests begin to look.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from runnelctl.core import charges, membership, tenancy
from runnelctl.core.assign import assign
from runnelctl.core.charges import Charge
from runnelctl.core.tenancy import Claim, Move
from runnelctl.runtime import board as cells
from runnelctl.runtime import standins
from tests.simulation import keeper, lane
from tests.simulation.store import Store
from tests.simulation.truth import Violation
from tests.simulation.world import World

SEEDS = Path(__file__).with_name("seeds.json")


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


def _takes_what_is_astray(me: str, claim: Claim, members: Any) -> Move:
    """Gives it to the other slice before the one that has it let go."""
    move = _decide(me, claim, members)
    return Move.TAKE if move is Move.GIVE_UP and claim.target == me and claim.astray and claim.holder == me else move


def _whatever_is_suspected(self: standins.StandIns, unit: Any, chosen: Any, *, suspected: bool) -> Any:
    return _place(self, unit, chosen, suspected=False)


def _rests_for_ever(host: Any, slot: int) -> bool:
    """Once others stood in for a slot, its partitions are never given back."""
    return _resting(host, slot) or bool(host.board.q[host.board.slot(slot) + cells.S_SPARED])


def _all_are_sure(*args: Any) -> dict[int, Charge]:
    return {unit: Charge(each.first, each.last, sure=True) for unit, each in _charged(*args).items()}


def _beside_others(self: lane.Lane) -> Any:
    if not self.announced and not self.seq:
        self.announced = True
        yield from self._commit([])
        return False
    return True


def _drops_one(capacity: Any, owners: Any) -> list[Any]:
    return [*assign(dict(capacity), owners)[:-1], None]


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
_place, _resting = standins.StandIns.place, standins.resting

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
    "what is astray is given on before it was let go": (tenancy, "decide", _takes_what_is_astray),
    "stand-ins take what is suspected": (standins.StandIns, "place", _whatever_is_suspected),
    "stand-ins never give back": (standins, "resting", _rests_for_ever),
    "no new read session after a broken connection": (lane.Lane, "_session", _trusts_what_it_knows),
}


@contextmanager
def mutated(name: str) -> Iterator[type[Store]]:
    """With this safeguard gone, and without the look that a keeper has anyway: it would mend some of what is broken
    here. Gives the store to use."""
    with ExitStack() as changes:
        changes.enter_context(mock.patch.object(keeper, "LOOK_ANYWAY_S", math.inf))
        if name in STORES:
            yield STORES[name]
            return
        where, what, instead = DECISIONS[name]
        changes.enter_context(mock.patch.object(where, what, instead))
        if where is charges:
            changes.enter_context(mock.patch.object(lane.Lane, "_alone", _beside_others))
        yield Store


def notices(seed: int, store: type[Store]) -> bool:
    """Whether this schedule shows that something is wrong."""
    try:
        World(seed, store).play()
    except (Violation, KeyError):
        return True
    return False


def search(name: str, first: int, most: int) -> int | None:
    """The first seed that notices a mutant, of so many."""
    with mutated(name) as store:
        return next((seed for seed in range(first, first + most) if notices(seed, store)), None)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--tries", type=int, default=1, help="from how many first seeds (default 1)")
    parser.add_argument("--most", type=int, default=5_000, help="schedules per try (default 5,000)")
    parser.add_argument("--write", action="store_true", help="keep the first seed of each for the tests")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    seeds, missed = dict[str, int](), 0
    print("| mutant | schedules until noticed: median, mean | CPU seconds: median, mean |\n|---|---|---|")
    for name in [*STORES, *DECISIONS]:
        counts, seconds = [], []
        for number in range(asked.tries):
            first, began = number * asked.most, time.process_time()
            seed = search(name, first, asked.most)
            seconds.append(time.process_time() - began)
            counts.append(asked.most if seed is None else seed - first + 1)
            missed += seed is None
            if seed is not None:
                seeds.setdefault(name, seed)
        print(
            f"| {name} | {statistics.median(counts):,.0f}, {statistics.mean(counts):,.0f} | "
            f"{statistics.median(seconds):.2f}, {statistics.mean(seconds):.2f} |",
            flush=True,
        )
    if asked.write:
        SEEDS.write_text(json.dumps(seeds, indent=2) + "\n")
    print(f"{missed} time(s) not noticed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
