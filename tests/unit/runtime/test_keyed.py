"""`order: key` in one lane: several handlers at once, one per key, and commits whose cursor waits at the first gap."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from runnelctl.core.model import Batch, CommitBounds, Order, Policy, Retry
from runnelctl.event import Event, Reject, Skip
from runnelctl.runtime import board as cells
from runnelctl.runtime import keyedledger
from runnelctl.runtime.keyedledger import WINDOW
from tests.bench import Bench, entry, session

MakeBench = Callable[..., Bench]


def keyed(number: int, key: str) -> list[Any]:
    """Event `<number>-0` of a key."""
    return entry(number, data=b'{"k":"%s","n":%d}' % (key.encode(), number), key=key.encode())


@pytest.fixture
def lane(bench: MakeBench) -> MakeBench:
    def make(handler: Any, concurrency: int = 3, **settings: Any) -> Bench:
        return bench(handler, order=Order.KEY, concurrency=concurrency, **settings)

    return make


def cursors(made: Bench) -> list[bytes]:
    return [commit.new for commit in made.store.commits]


def above(made: Bench) -> list[bytes]:
    """What each commit remembers; of one that changes nothing, nothing."""
    found = []
    for commit in made.store.commits:
        at = commit.effects.index("A") if "A" in commit.effects else None
        found.append(b"" if at is None else commit.effects[at + 2])
    return found


def test_keys_run_side_by_side_and_one_at_a_time_each(lane: MakeBench) -> None:
    running: list[str] = []
    seen: list[tuple[str, int]] = []
    most = 0

    async def handler(event: Event) -> None:
        nonlocal most
        assert event.key not in running, "one at a time per key"
        running.append(event.key)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.remove(event.key)
        seen.append((event.key, event.value["n"]))

    made = lane(handler)
    made.drive(*[keyed(n, "abcde"[n % 5]) for n in range(1, 61)])
    assert most == 3, "as many as `concurrency`"
    for key in "abcde":
        mine = [number for each, number in seen if each == key]
        assert len(mine) == 12 and mine == sorted(mine)
    assert made.lane.ledger.cursor == b"60-0"
    assert made.cell(cells.U_PROCESSED) == made.cell(cells.U_COUNT) == 60
    assert made.since == 0.0


def test_a_handler_that_never_waits_needs_one_worker(lane: MakeBench) -> None:
    tasks = set()

    async def handler(event: Event) -> None:
        tasks.add(asyncio.current_task())

    lane(handler, concurrency=64).drive(*[keyed(n, f"k{n}") for n in range(1, 500)])
    assert len(tasks) <= 2


def test_what_ends_close_together_shares_a_commit(lane: MakeBench) -> None:
    async def handler(event: Event) -> None:
        await asyncio.sleep(0)

    made = lane(handler, concurrency=3)
    made.drive(*[keyed(n, f"k{n}") for n in range(1, 100)])
    assert cursors(made)[-1] == b"99-0"
    assert len(made.store.commits) < 30, "without a gap, each would carry one or two events"


def test_where_few_may_be_uncommitted_nobody_waits_for_the_gap(
    lane: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(event: Event) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(keyedledger, "COMMIT_GAP_S", 1_000.0)
    made = lane(handler, concurrency=3, commit=CommitBounds(events=3, every_ms=1_000_000))
    made.drive(*[keyed(n, f"k{n}") for n in range(1, 100)])
    assert cursors(made)[-1] == b"99-0"


def test_batches_start_no_more_than_a_death_may_repeat(lane: MakeBench) -> None:
    started: list[int] = []
    most = 0

    async def handler(events: list[Event]) -> None:
        nonlocal most
        started.extend(event.value["n"] for event in events)
        held = {int(each.split(b"-")[0]) for each in above(made)[-1].split()} if above(made) else set()
        upto = int(cursors(made)[-1].split(b"-")[0]) if cursors(made) else 0
        most = max(most, sum(number > upto and number not in held for number in started))
        await asyncio.sleep(0)

    made = lane(handler, batch=Batch(size=10), commit=CommitBounds(events=25))
    made.drive(*[keyed(n, "abc"[n % 3]) for n in range(1, 301)])
    assert len(started) == 300
    assert 20 < most <= 25


def test_handlers_that_never_wait_give_way_at_every_look_around(lane: MakeBench) -> None:
    turn, seen_in = 0, set()

    async def handler(event: Event) -> None:
        seen_in.add(turn)
        made.lane.check_at = 1.0  # long past

    def until() -> bool:  # asked in every turn of the loop
        nonlocal turn
        turn += 1
        return bool(made.lane.ledger.committed == 99)

    made = lane(handler, concurrency=2)
    made.drive(*[keyed(n, f"k{n}") for n in range(1, 100)], until=until)
    assert len(seen_in) >= 40


def test_a_lane_goes_on_however_late_its_turns_come(lane: MakeBench) -> None:
    async def handler(event: Event) -> None:
        await asyncio.sleep(0)

    made = lane(handler)
    made.lane._turn_s = -1.0  # a look around is due again as soon as one is over: other lanes took all the time
    made.drive(*[keyed(n, f"k{n}") for n in range(1, 100)])
    assert made.lane.ledger.cursor == b"99-0"


def test_the_cursor_waits_at_the_first_gap_and_what_is_above_is_remembered(lane: MakeBench) -> None:
    gate = asyncio.Event()

    async def handler(event: Event) -> None:
        if event.key == "slow":
            await gate.wait()

    made = lane(handler)

    def until() -> bool:
        if above(made)[-1:] == [b"2-0 3-0 5-0"] and not gate.is_set():
            assert cursors(made)[-1] == b"0-0"
            assert made.board.d[made.lane.base + cells.U_SINCE] > 0
            assert (made.cell(cells.U_STARTED), made.cell(cells.U_LAST)) == (1, 1), "the only one in a handler"
            gate.set()
        return bool(made.lane.ledger.committed == 5)

    made.drive(keyed(1, "slow"), keyed(2, "a"), keyed(3, "b"), keyed(4, "slow"), keyed(5, "a"), until=until)
    assert cursors(made)[-1] == b"5-0" and above(made)[-1] == b""


def test_what_was_done_in_an_earlier_session_is_not_done_again(lane: MakeBench) -> None:
    seen = []

    async def handler(event: Event) -> None:
        seen.append(event.id)

    made = lane(handler, at=session(above=frozenset([b"2-0", b"4-0", b"9-0", b"0-0"])))
    made.drive(*[keyed(n, f"k{n}") for n in range(1, 6)])
    assert seen == ["1-0", "3-0", "5-0"]
    assert made.lane.ledger.cursor == b"5-0"
    assert [each for each in above(made) if each][-1] == b"9-0", "what was not read again yet stays remembered"


def test_a_retry_holds_its_key_only(lane: MakeBench) -> None:
    seen: list[str] = []

    async def handler(event: Event) -> None:
        if event.id == "1-0" and event.attempt == 1:
            raise ValueError("not yet")
        seen.append(event.id)

    made = lane(handler, concurrency=1, retry=Retry(attempts=2, backoff_ms=30))
    made.drive(keyed(1, "a"), keyed(2, "a"), keyed(3, "b"), keyed(4, "b"))
    assert seen == ["3-0", "4-0", "1-0", "2-0"]
    assert made.cell(cells.U_RETRIED) == 1


@pytest.mark.parametrize("policy", [Policy.QUARANTINE, Policy.HALT])
def test_the_partition_stops_right_before_the_oldest_event_that_failed(lane: MakeBench, policy: Policy) -> None:
    seen: list[str] = []

    async def handler(event: Event) -> None:
        await asyncio.sleep(0)
        if event.key in ("bad", "worse"):
            raise Reject("no")
        await asyncio.sleep(0.01)
        seen.append(event.id)

    made = lane(handler, policy=policy)
    events = [keyed(1, "a"), keyed(2, "a"), keyed(3, "worse"), keyed(4, "bad"), keyed(5, "b"), keyed(6, "a")]
    made.drive(*events, until=lambda: False)
    state = cells.STATE_HALTED if policy is Policy.HALT else cells.STATE_QUARANTINED
    assert made.lane.ended == state
    last = made.store.commits[-1]
    assert (last.release, last.new) == (True, b"2-0")
    assert msgspec.json.decode(last.block)["event"] == "3-0"
    assert "2-0" in seen and "6-0" not in seen, "what is older goes on, what is younger does not start"


def test_ignore_and_skip_pass_over(lane: MakeBench) -> None:
    async def handler(event: Event) -> None:
        raise Skip("none of mine") if event.key == "skip" else ValueError("broken")

    made = lane(handler, policy=Policy.IGNORE, dead_letter="dead", retry=Retry(attempts=1))
    made.drive(keyed(1, "a"), keyed(2, "skip"), keyed(3, "b"))
    assert made.lane.ledger.cursor == b"3-0"
    assert made.cell(cells.U_FAILED) == 2


def test_states_and_emits_go_with_their_event(lane: MakeBench) -> None:
    async def handler(event: Event, ctx: Any) -> None:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        await asyncio.sleep(0)
        ctx.emit("out", {"k": event.key})

    made = lane(handler)
    made.drive(*[keyed(n, "abc"[n % 3]) for n in range(1, 31)])
    assert made.store.states == {f"state:{key}": b'{"n":10}' for key in "abc"}


def test_only_the_state_of_the_own_key(lane: MakeBench) -> None:
    async def handler(event: Event, ctx: Any) -> None:
        ctx.state_of("other")

    made = lane(handler, retry=Retry(attempts=1))
    made.drive(keyed(1, "a"), until=lambda: False)
    assert "the event's own key" in msgspec.json.decode(made.store.commits[-1].block)["message"]


def test_plain_functions_run_in_as_many_threads(lane: MakeBench) -> None:
    barrier, names = threading.Barrier(3, timeout=10), set()

    def handler(event: Event) -> None:
        names.add(threading.current_thread().name)
        barrier.wait()

    made = lane(handler)
    made.drive(*[keyed(n, f"k{n}") for n in range(1, 10)])
    assert len(names) == 3
    assert made.lane.ledger.cursor == b"9-0"


def test_a_batch_is_of_one_key_and_its_culprit_pays_alone(lane: MakeBench) -> None:
    calls: list[list[int]] = []

    async def handler(events: list[Event]) -> None:
        assert len({event.key for event in events}) == 1
        calls.append([event.value["n"] for event in events])
        await asyncio.sleep(0)
        if 3 in calls[-1]:
            raise ValueError("broken")

    made = lane(handler, batch=Batch(size=10), policy=Policy.IGNORE, retry=Retry(attempts=2, backoff_ms=1))
    made.drive(*[keyed(n, "ab"[n % 2]) for n in range(1, 9)])
    assert [2, 4, 6, 8] in calls, "one batch per key"
    assert calls.count([1, 3, 5, 7]) == 2, "as many attempts as any"
    assert [call for call in calls if call[0] % 2][2:] == [[1], [3], [5], [7]], "then alone"
    assert made.cell(cells.U_FAILED) == 1


def test_a_slow_key_bounds_what_is_ahead(lane: MakeBench) -> None:
    gate, seen = asyncio.Event(), []

    async def handler(event: Event) -> None:
        if event.key == "slow":
            await gate.wait()
        seen.append(event.id)

    made = lane(handler)

    def until() -> bool:
        if len(seen) == WINDOW - 1:
            assert made.lane.intake.count == 2_001 - WINDOW
            gate.set()
        return bool(made.lane.ledger.committed == 2_001)

    made.drive(keyed(1, "slow"), *[keyed(n, f"k{n % 7}") for n in range(2, 2_002)], until=until)
    assert len(seen) == 2_001


def test_no_more_is_done_than_a_death_may_repeat(lane: MakeBench) -> None:
    seen = []

    async def handler(event: Event) -> None:
        await asyncio.sleep(0)
        seen.append(event.id)
        if len(seen) > 4:
            assert made.store.commits, "a commit came first"

    made = lane(handler, commit=CommitBounds(events=4))
    made.drive(*[keyed(n, f"k{n}") for n in range(1, 100)])
    assert max(commit.n for commit in made.store.commits) <= 4
    assert len(seen) == 99


def test_a_stop_lands_what_flies(lane: MakeBench) -> None:
    started, seen = [], []

    async def handler(event: Event) -> None:
        started.append(event.id)
        await asyncio.sleep(0.02)
        seen.append(event.id)

    made = lane(handler)
    made.drive(*[keyed(n, f"k{n}") for n in range(1, 10)], until=lambda: len(started) == 3)
    assert started == seen == ["1-0", "2-0", "3-0"]
    assert made.store.commits[-1].release and made.store.commits[-1].new == b"3-0"


def test_after_a_death_events_are_tried_one_by_one_until_the_culprit_is_known(lane: MakeBench) -> None:
    running, most, seen = 0, 0, []

    async def handler(event: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        seen.append((event.id, event.attempt))
        await asyncio.sleep(0)
        running -= 1

    made = lane(handler, at=session(suspect=1, tries=1, alone_until=4, seq=1, above=frozenset([b"3-0"])))
    made.drive(*[keyed(n, f"k{n}") for n in range(1, 5)])
    assert most == 1
    assert seen == [("1-0", 2), ("2-0", 1), ("4-0", 1)]


def test_who_killed_its_process_too_often_is_punished_without_another_try(lane: MakeBench) -> None:
    async def handler(event: Event) -> None:
        raise AssertionError("it must not run")

    at = session(suspect=1, tries=2, alone_until=1, sure=True, death="killed by SIGSEGV")
    made = lane(handler, at=at, retry=Retry(attempts=2))
    made.drive(keyed(1, "a"), keyed(2, "b"), until=lambda: False)
    record = msgspec.json.decode(made.store.commits[-1].block)
    assert (record["type"], record["event"]) == ("ProcessDied", "1-0")


def test_no_other_key_starts_before_the_end_of_who_killed_its_process_is_committed(lane: MakeBench) -> None:
    committed: list[int] = []

    async def handler(_: Event) -> None:
        committed.append(made.lane.ledger.committed)

    at = session(suspect=1, tries=2, sure=True, death="killed by SIGSEGV")
    made = lane(handler, at=at, policy=Policy.IGNORE)
    made.drive(keyed(1, "a"), keyed(2, "b"), lag=5)
    assert committed == [1]


def test_large_events_arrive_a_few_at_a_time(lane: MakeBench) -> None:
    running = most = 0

    async def handler(event: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1

    made = lane(handler, concurrency=64)
    made.lane.feed([keyed(n, f"k{n}") for n in range(1, 41)], 11 * 1024 * 1024)
    made.drive(until=lambda: made.lane.ledger.committed == 40)
    assert made.lane.ledger.committed == 40
    assert most == 2
