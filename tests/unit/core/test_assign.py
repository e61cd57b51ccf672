"""The assignment: complete, even, sticky and the same for everybody, whatever hosts come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runnelctl.core.assign import Place, assign, shares

HOSTS = [f"h{number}" for number in range(6)]
hosts = st.sampled_from(HOSTS)
capacities = st.dictionaries(hosts, st.integers(0, 4), min_size=1, max_size=6)
equals = st.integers(1, 4).flatmap(lambda slices: st.dictionaries(hosts, st.just(slices), min_size=1, max_size=6))
partitions = st.integers(0, 40)


def settled(capacity: dict[str, int], count: int) -> list[Place | None]:
    return assign(capacity, [None] * count)


def loads(places: Sequence[Place | None]) -> Counter[str]:
    return Counter(place[0] for place in places if place is not None)


def check(capacity: dict[str, int], places: Sequence[Place | None]) -> None:
    """What must hold of every result."""
    able = {host: slices for host, slices in capacity.items() if slices}
    if not able:
        assert set(places) <= {None}
        return
    by_host, by_place = loads(places), Counter(places)
    weights = sum(able.values())
    for host, slices in capacity.items():
        # Within one of the exact share, so equals differ by at most one.
        assert abs(by_host[host] * weights - len(places) * slices) < weights
        in_slices = [by_place[(host, number)] for number in range(slices)]
        assert sum(in_slices) == by_host[host], "every place is a slice that exists"
        assert max(in_slices, default=0) - min(in_slices, default=0) <= 1
    assert sum(by_host.values()) == len(places), "every partition is placed"
    for slices in set(able.values()):
        equal = [by_host[host] for host in able if able[host] == slices]
        assert max(equal) - min(equal) <= 1


owners = st.lists(st.none() | st.tuples(st.sampled_from([*HOSTS, "stranger"]), st.integers(0, 6)), max_size=40)


@given(capacities, owners, st.integers(0, 10))
def test_every_partition_is_placed_evenly_wherever_it_was(
    capacity: dict[str, int], before: list[Place | None], turn: int
) -> None:
    snapshot = (dict(capacity), list(before))
    after = assign(capacity, before, turn)
    check(capacity, after)
    assert (capacity, before) == snapshot, "pure: the arguments are as they were"
    assert assign(dict(reversed(capacity.items())), before, turn) == after, "the order of the hosts does not matter"


@given(capacities, owners, st.integers(0, 10))
def test_the_result_is_a_fixpoint(capacity: dict[str, int], before: list[Place | None], turn: int) -> None:
    after = assign(capacity, before, turn)
    assert assign(capacity, after, turn) == after
    assert assign(capacity, after, turn + 1) == after, "whose turn it is decides only where nobody holds anything"


@given(equals, partitions, st.integers(0, 10))
def test_a_join_moves_only_what_the_newcomer_gets(capacity: dict[str, int], count: int, turn: int) -> None:
    before = assign(capacity, [None] * count, turn)
    grown = capacity | {"new": next(iter(capacity.values()))}
    after = assign(grown, before, turn)
    check(grown, after)
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert all(new is not None and new[0] == "new" for _, new in moved)


@given(equals.filter(lambda capacity: len(capacity) > 1), partitions, st.data())
def test_a_leave_moves_only_what_the_leaver_had(capacity: dict[str, int], count: int, data: st.DataObject) -> None:
    before = settled(capacity, count)
    leaver = data.draw(st.sampled_from(sorted(capacity)))
    left = {host: slices for host, slices in capacity.items() if host != leaver}
    after = assign(left, before)
    check(left, after)
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert all(old is not None and old[0] == leaver for old in moved)
    assert len(moved) == loads(before)[leaver]


@given(st.lists(st.tuples(hosts, st.integers(0, 4)), min_size=1, max_size=20), st.integers(1, 40))
@example([("h1", 1), ("h0", 3)], 2)  # equal claims: the one who got the odd partition must keep it
def test_any_sequence_of_joins_leaves_and_resizes_stays_even_and_settles(
    changes: list[tuple[str, int]], count: int
) -> None:
    capacity: dict[str, int] = {}
    places: list[Place | None] = [None] * count
    for host, slices in changes:
        if slices:
            capacity[host] = slices
        else:
            capacity.pop(host, None)
        after = assign(capacity, places)
        check(capacity, after)
        assert assign(capacity, after) == after
        places = after


@given(capacities, partitions, st.data())
def test_unequal_hosts_move_no_more_than_the_change_and_rounding(
    capacity: dict[str, int], count: int, data: st.DataObject
) -> None:
    before = settled(capacity, count)
    if None in before:
        return
    grown = capacity | {"new": data.draw(st.integers(1, 4))}
    after = assign(grown, before)
    hosts_changed = sum(
        1 for old, new in zip(before, after, strict=True) if old is not None and new is not None and old[0] != new[0]
    )
    # Largest remainders may hand one partition on between two old hosts, never more than one each.
    assert hosts_changed <= loads(after)["new"] + len(capacity)


@pytest.mark.parametrize(
    ("capacity", "held", "total", "turn", "expected"),
    [
        ({}, {}, 4, 0, {}),
        ({"a": 0}, {}, 4, 0, {"a": 0}),
        ({"a": 1}, {}, 0, 0, {"a": 0}),
        ({"a": 1, "b": 1}, {}, 4, 0, {"a": 2, "b": 2}),
        ({"a": 1, "b": 1}, {}, 1, 0, {"a": 1, "b": 0}),
        ({"a": 1, "b": 1}, {}, 1, 1, {"a": 0, "b": 1}),
        ({"a": 1, "b": 1}, {"b": 1}, 1, 0, {"a": 0, "b": 1}),
        ({"a": 3, "b": 1}, {}, 8, 0, {"a": 6, "b": 2}),
        ({"a": 2, "b": 1, "c": 0}, {}, 5, 0, {"a": 3, "b": 2, "c": 0}),
    ],
)
def test_shares(
    capacity: dict[str, int], held: dict[str, int], total: int, turn: int, expected: dict[str, int]
) -> None:
    assert shares(capacity, held, total, turn) == expected


def test_many_processors_with_one_partition_spread_over_the_hosts() -> None:
    capacity = {"a": 1, "b": 1, "c": 1}
    assert Counter(assign(capacity, [None], turn)[0] for turn in range(9)) == {(h, 0): 3 for h in capacity}
