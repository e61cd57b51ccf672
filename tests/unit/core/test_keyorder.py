"""Random histories of `order: key`, against what it promises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core.keyorder import KeyOrder, Passed


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 5), st.integers(0, 3), st.randoms())
def test_one_at_a_time_per_key_in_order_and_all_in_the_end(
    keys: list[str], most: int, joins: int, random: object
) -> None:
    order, waiting, running = KeyOrder(), list(enumerate(keys, 1)), []
    started: list[int] = []
    while waiting or len(order):
        choices = ["arrive"] * bool(waiting) + ["start"] * (len(running) < most) + ["done", "again"] * bool(running)
        match random.choice(choices):  # type: ignore[attr-defined]
            case "arrive":
                order.arrive(*waiting.pop(0))
            case "start":
                first = order.start()
                if first is None:
                    assert running or waiting, "something may always start when nothing runs"
                    continue
                group = [first, *order.join(first, joins)]
                key = keys[first - 1]
                assert all(keys[each - 1] == key for each in group)
                assert key not in [keys[other[0] - 1] for other in running], "one at a time per key"
                running.append(group)
            case "done":
                group = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
                started += group
                order.done(group)
            case "again":
                group = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
                order.again(group[0], group[1:])
    assert sorted(started) == list(range(1, len(keys) + 1))
    for key in "abc":
        mine = [each for each in started if keys[each - 1] == key]
        assert mine == sorted(mine), "in the order of arrival"


def test_the_oldest_starts_first() -> None:
    order = KeyOrder()
    for ordinal, key in enumerate("aab", 1):
        order.arrive(ordinal, key)
    assert (order.start(), order.start(), order.start()) == (1, 3, None)
    order.arrive(4, "c")
    order.done([1])
    assert (order.start(), order.start()) == (2, 4)


def test_before_a_failed_event_everything_runs_and_behind_it_nothing() -> None:
    order = KeyOrder()
    for ordinal, key in enumerate("abacad", 1):
        order.arrive(ordinal, key)
    assert [order.start(), order.start(), order.start()] == [1, 2, 4]
    order.bar(4)
    order.done([1])
    assert (order.start(), order.start()) == (3, None)
    order.done([3])
    assert order.start() is None, "5 is of a key that is free, and behind the failed one"
    order.bar(6)
    assert order.start() is None, "the lowest counts"


@given(st.permutations(range(11, 31)))
def test_the_watermark_is_the_end_of_what_is_passed_without_a_gap(ordinals: list[int]) -> None:
    passed, added = Passed(10, b"10-0"), set()
    for ordinal in ordinals:
        passed.add(ordinal, b"%d-0" % ordinal)
        added.add(ordinal)
        expected = next(each for each in range(10, 31) if each + 1 not in added)
        assert (passed.watermark, passed.at) == (expected, b"%d-0" % expected)
        assert passed.ids() == [b"%d-0" % each for each in sorted(added) if each > expected]
