"""Random histories of `order: key`, against what it promises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core.keyorder import Flight, KeyOrder, Passed


class _Event:
    def __init__(self, event_id: bytes) -> None:
        self._id = event_id


def flight(ordinal: int, key: str = "") -> Flight:
    return Flight(ordinal, key, _Event(b"%d-0" % ordinal))


def started(order: KeyOrder) -> int | None:
    """The ordinal of what starts now."""
    first = order.start()
    return first and first.ordinal


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 5), st.integers(0, 3), st.randoms())
def test_one_at_a_time_per_key_in_order_and_all_in_the_end(
    keys: list[str], most: int, joins: int, random: object
) -> None:
    order, waiting, running = KeyOrder(), [flight(n, key) for n, key in enumerate(keys, 1)], []
    done: list[Flight] = []
    while waiting or order:
        choices = ["arrive"] * bool(waiting) + ["start"] * (len(running) < most)
        choices += ["done", "follow", "again"] * bool(running)
        match random.choice(choices):  # type: ignore[attr-defined]
            case "arrive":
                order.arrive(waiting.pop(0))
            case "start":
                first = order.start()
                if first is None:
                    assert running or waiting, "something may always start when nothing runs"
                    continue
                order.join(first, joins)
                assert all(each.key == first.key for each in first.joined)
                assert first.key not in [other.key for other in running], "one at a time per key"
                running.append(first)
            case "done":
                first = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
                done += [first, *first.joined]
                order.done(first)
            case "follow":
                first = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
                done += [first, *first.joined]
                oldest = min([each.ordinal for each in _startable(order, first)], default=None)
                following = order.follow(first)
                assert (following and following.ordinal) == oldest, "the oldest that may start"
                if following is not None:
                    running.append(following)
            case "again":
                order.again(running.pop(random.randrange(len(running))))  # type: ignore[attr-defined]
    assert sorted(each.ordinal for each in done) == list(range(1, len(keys) + 1))
    for key in "abc":
        mine = [each.ordinal for each in done if each.key == key]
        assert mine == sorted(mine), "in the order of arrival"


def _startable(order: KeyOrder, over: Flight) -> list[Flight]:
    """What may start once that one is done."""
    behind = order._behind[over.key]
    return [*order._ready, *(list(behind)[:1] if behind else [])]


def test_the_oldest_starts_first() -> None:
    order = KeyOrder()
    first, *others = [flight(ordinal, key) for ordinal, key in enumerate("aab", 1)]
    for each in (first, *others):
        order.arrive(each)
    assert (started(order), started(order), started(order)) == (1, 3, None)
    order.arrive(flight(4, "c"))
    order.done(first)
    assert (started(order), started(order)) == (2, 4)


def test_before_a_failed_event_everything_runs_and_behind_it_nothing() -> None:
    order = KeyOrder()
    flights = [flight(ordinal, key) for ordinal, key in enumerate("abacad", 1)]
    for each in flights:
        order.arrive(each)
    assert [started(order), started(order), started(order)] == [1, 2, 4]
    order.bar(4)
    order.done(flights[0])
    assert (started(order), started(order)) == (3, None)
    order.done(flights[2])
    assert order.start() is None, "5 is of a key that is free, and behind the failed one"
    assert order.follow(flights[1]) is None
    order.bar(6)
    assert order.start() is None, "the lowest counts"


@given(st.permutations(range(11, 31)), st.randoms())
def test_the_watermark_is_the_end_of_what_is_passed_without_a_gap(ordinals: list[int], random: object) -> None:
    passed, added, untold = Passed(10, b"10-0"), set(), []
    for ordinal in ordinals:
        untold.append(flight(ordinal))
        passed.add(untold[-1:])
        added.add(ordinal)
        assert passed.watermark == _end(added)
        match random.randrange(4):  # type: ignore[attr-defined]
            case 0:
                del untold[: random.randrange(len(untold) + 1)]  # type: ignore[attr-defined]
            case 1:
                untold.clear()
            case _:
                continue
        told = added - {each.ordinal for each in untold}
        above = {b"%d-0" % each for each in told if each > _end(told)}
        ids, last = passed.tell(untold)
        assert (set(ids), len(ids), last) == (above, len(above), max(above, default=b""))
        assert (passed.told, passed.at) == (_end(told), b"%d-0" % _end(told))


def _end(ordinals: set[int]) -> int:
    return next(each for each in range(10, 31) if each + 1 not in ordinals)
