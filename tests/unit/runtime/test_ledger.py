"""The books of a lane: what the next commit carries, and what follows from each answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from runnelctl.core.keyorder import Flight
from runnelctl.core.model import Order
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import effects as packing
from runnelctl.runtime import ledger as module
from runnelctl.runtime import sessions
from runnelctl.runtime.context import Effect
from runnelctl.runtime.ledger import Ledger
from runnelctl.store.leases import Commit
from tests.bench import NONCE, Bench, event, run, session

MakeBench = Callable[..., Bench]


async def handle(event: Any) -> None:
    """A handler that is not called here."""


@pytest.fixture
def desk(bench: MakeBench) -> Bench:
    """A lane that goes on from event 10, whose id is 10-0, with seq 3."""
    return bench(handle, at=session(cursor=b"10-0", count=10, seq=3))


def events(bench: Bench, first: int, last: int) -> list[Event]:
    return [event(bench.lane, number) for number in range(first, last + 1)]


def done(bench: Bench, first: int, last: int, effects: dict[int, list[Effect]] | None = None) -> None:
    """Events first..last ran well, in one run."""
    ledger, run = bench.lane.ledger, events(bench, first, last)
    ledger.open_run(run)
    for index, passed in enumerate(run):
        ordinal = ledger.first + index
        if effects and ordinal in effects:
            ledger.effects.append((ordinal, passed._id, effects[ordinal]))
        ledger.done = ordinal
        if ledger.dirty_since == 0.0:
            ledger.mark_dirty(1.0)
    ledger.close_run(len(run))


def emit(word: str) -> Effect:
    return ("X", "out", (0, 2, b"data", word))


def write(key: str, value: str) -> Effect:
    return ("S", key, (value,))


def shape(ledger: Ledger) -> tuple[Any, ...]:
    commit = ledger.next_commit()
    assert commit is not None
    return commit.seq, commit.expected, commit.new, commit.n


def test_nothing_done_is_nothing_to_commit(desk: Bench) -> None:
    assert desk.lane.ledger.next_commit() is None
    assert not desk.lane.ledger.unsettled


def test_a_commit_carries_all_that_finished_since(desk: Bench) -> None:
    done(desk, 11, 13)
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert (commit.epoch, commit.nonce, commit.seq) == (1000, NONCE, 4)
    assert (commit.expected, commit.new, commit.n) == (b"10-0", b"13-0", 3)
    assert (commit.release, commit.block, commit.effects) == (False, "", [])
    assert commit.keys == ["{shop:orders:0}:own:billing", "{shop:orders:0}:events"]


def test_the_end_of_a_run_with_many_effects_asks_for_a_commit_though_one_was_asked_for_before(desk: Bench) -> None:
    """That one went out before these were done, and its answer may be far: the server need not be idle till then."""
    asked: list[Any] = []
    ledger, desk.slice.committer.wake = desk.lane.ledger, asked.append  # type: ignore[method-assign]
    few, many = 11 + module.LADEN_EVENTS - 2, 11 + module.LADEN_EVENTS - 1
    done(desk, 11, few, {ordinal: [emit("x")] for ordinal in range(11, few + 1)})
    assert len(asked) == 1, "when the first was done"
    done(desk, many, many, {many: [emit("x")]})
    assert len(asked) == 2
    assert ledger.laden


def test_a_commit_in_the_middle_of_a_run(desk: Bench) -> None:
    ledger, run = desk.lane.ledger, events(desk, 11, 15)
    ledger.open_run(run)
    assert ledger.next_commit() is None
    ledger.done = 12
    assert shape(ledger) == (4, b"10-0", b"12-0", 2)
    ledger.outcome([b"OK"])
    ledger.done = 15
    ledger.close_run(5)
    assert shape(ledger) == (5, b"12-0", b"15-0", 3)


def test_a_run_that_broke_off_commits_only_what_is_done(desk: Bench) -> None:
    ledger, run = desk.lane.ledger, events(desk, 11, 15)
    ledger.open_run(run)
    ledger.done = 12
    ledger.close_run(2)
    assert shape(ledger) == (4, b"10-0", b"12-0", 2)
    ledger.outcome([b"OK"])
    ledger.open_run(events(desk, 13, 14))
    ledger.close_run(0)
    assert ledger.next_commit() is None


def test_the_commit_under_way_is_sent_again_unchanged(desk: Bench) -> None:
    done(desk, 11, 12, {11: [emit("a")]})
    first = desk.lane.ledger.next_commit()
    done(desk, 13, 20, {14: [emit("b")]})
    assert desk.lane.ledger.next_commit() is first
    assert first is not None
    assert (first.new, first.n) == (b"12-0", 2)
    assert desk.lane.ledger.outcome([b"ALREADY"]) is None
    assert shape(desk.lane.ledger) == (5, b"12-0", b"20-0", 8)


@pytest.mark.parametrize("word", [b"OK", b"ALREADY"])
def test_settled_means_cursor_count_and_seq_move_on_and_the_board_shows_it(desk: Bench, word: bytes) -> None:
    done(desk, 11, 13)
    desk.lane.ledger.next_commit()
    assert desk.lane.ledger.outcome([word]) is None
    ledger = desk.lane.ledger
    assert (ledger.cursor, ledger.committed, ledger.seq) == (b"13-0", 13, 4)
    assert ledger.dirty_since == 0.0
    assert not ledger.unsettled
    assert [desk.cell(c) for c in (cells.U_CURSOR_MS, cells.U_CURSOR_SEQ, cells.U_COUNT)] == [13, 0, 13]


def test_effects_keep_the_order_of_the_events_and_share_their_keys(desk: Bench) -> None:
    done(desk, 11, 13, {11: [emit("a"), write("s1", "1")], 13: [emit("b"), ("D", "s2", ()), write("s3", "3")]})
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert commit.keys[2:] == ["out", "s1", "s2", "s3"]
    assert commit.effects == [
        "X", 3, 0, 2, b"data", "a", "X", 3, 0, 2, b"data", "b", "S", 4, "1", "D", 5, "S", 6, "3",
    ]  # fmt: skip


def test_plain_entries_of_a_stream_share_an_effect_and_keep_their_order(desk: Bench) -> None:
    def plain(word: bytes, stream: str = "out") -> Effect:
        return ("E", stream, (9, word, "k"))

    done(desk, 11, 13, {11: [plain(b"a"), plain(b"b", "other")], 12: [plain(b"c")], 13: [emit("d"), plain(b"e")]})
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert commit.keys[2:] == ["out", "other"]
    assert commit.effects == [
        "E", 3, 9, 2, b"a", "k", b"c", "k", "E", 4, 9, 1, b"b", "k",
        "X", 3, 0, 2, b"data", "d", "E", 3, 9, 1, b"e", "k",
    ]  # fmt: skip


def test_of_several_writes_to_a_state_the_last_stays(desk: Bench) -> None:
    done(desk, 11, 14, {11: [write("s", "1")], 12: [("D", "s", ())], 13: [emit("x")], 14: [write("s", "4")]})
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert commit.effects == ["X", 3, 0, 2, b"data", "x", "S", 4, "4"]
    desk.lane.ledger.outcome([b"OK"])
    done(desk, 15, 16, {15: [write("s", "5")], 16: [("D", "s", ())]})
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert commit.effects == ["D", 3]


def test_effects_of_events_that_are_not_done_wait(desk: Bench) -> None:
    """A handler's thread appends an event's effects before it counts the event as done."""
    ledger, run = desk.lane.ledger, events(desk, 11, 12)
    ledger.open_run(run)
    ledger.effects.append((11, b"11-0", [emit("a")]))
    ledger.done = 11
    ledger.effects.append((12, b"12-0", [emit("b")]))
    commit = ledger.next_commit()
    assert commit is not None
    assert (commit.new, commit.effects[-1]) == (b"11-0", "a")
    ledger.done = 12
    ledger.close_run(2)
    ledger.outcome([b"OK"])
    commit = ledger.next_commit()
    assert commit is not None
    assert (commit.new, commit.effects) == (b"12-0", ["X", 3, 0, 2, b"data", "b"])


def test_too_many_effects_are_cut_at_an_event(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "EFFECTS_PER_COMMIT", 5)
    done(desk, 11, 20, {n: [emit(f"{n}"), emit(f"{n}")] for n in range(11, 21)})
    desk.lane.ledger._closing = True
    seen = []
    while (commit := desk.lane.ledger.next_commit()) is not None and not commit.release:
        seen.append((commit.new, commit.n, commit.effects.count("X")))
        desk.lane.ledger.outcome([b"OK"])
    assert seen == [(b"13-0", 3, 6), (b"16-0", 3, 6), (b"19-0", 3, 6)]
    assert commit is not None
    assert (commit.new, commit.n, commit.release) == (b"20-0", 1, True)


def test_too_many_bytes_are_cut_at_an_event(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "EFFECT_BYTES_PER_COMMIT", 250)
    done(desk, 11, 15, {n: [emit("x" * 100)] for n in range(11, 16)})
    seen = []
    while (commit := desk.lane.ledger.next_commit()) is not None:
        seen.append(commit.n)
        desk.lane.ledger.outcome([b"OK"])
    assert seen == [3, 2]


def test_one_event_with_too_many_effects_goes_as_a_whole(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "EFFECTS_PER_COMMIT", 5)
    done(desk, 11, 12, {11: [emit("a")] * 50})
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert (commit.new, commit.effects.count("X")) == (b"11-0", 50)


def test_full_keeps_the_commit_and_asks_for_a_pause(desk: Bench) -> None:
    done(desk, 11, 12)
    commit = desk.lane.ledger.next_commit()
    pause_s = desk.lane.ledger.outcome([b"FULL", b"out"])
    assert pause_s == module.FULL_PAUSE_S
    assert desk.lane.ledger.next_commit() is commit
    assert desk.lane.ended is None


def test_fenced_ends_the_lane_and_commits_nothing_more(desk: Bench, caplog: pytest.LogCaptureFixture) -> None:
    done(desk, 11, 13)
    desk.lane.ledger.next_commit()
    assert desk.lane.ledger.outcome([b"FENCED", b"1001", b"b/0"]) is None
    assert desk.lane.ended == cells.STATE_LOST
    assert "epoch 1000 was taken over by epoch 1001 of b/0; 3 event(s) dropped after 10-0" in caplog.text
    desk.lane.ledger.resolve_ended()
    assert desk.lane.ledger.in_flight is None


@pytest.mark.parametrize("word", [b"CURSOR", b"HISTORY"])
def test_another_history_drops_what_is_not_committed(desk: Bench, word: bytes) -> None:
    done(desk, 11, 13, {12: [emit("a")]})
    desk.lane.ledger.next_commit()
    done(desk, 14, 15, {14: [emit("b")]})
    desk.lane.ledger.outcome([word, b"9-0"])
    ledger = desk.lane.ledger
    assert desk.lane.resyncing
    assert (ledger.done, ledger.committed, ledger.cursor) == (10, 10, b"10-0")
    assert not ledger.effects
    assert ledger.next_commit() is None


@pytest.mark.parametrize("word", [b"CURSOR", b"HISTORY"])
def test_what_a_handler_finishes_after_its_past_was_dropped_is_not_committed(desk: Bench, word: bytes) -> None:
    """Its own effects may be there, but those of the dropped events before it are gone."""
    ledger = desk.lane.ledger
    done(desk, 11, 13, {12: [emit("a")]})
    ledger.next_commit()
    ledger.outcome([word, b"9-0"])
    ledger.effects.append((14, b"14-0", [emit("b")]))
    ledger.done = 14
    assert ledger.next_commit() is None
    assert not ledger.unsettled
    ledger.drop_and_block("{}", cells.STATE_HALTED)
    ledger.done = 15
    commit = ledger.next_commit()
    assert commit is not None
    assert (commit.expected, commit.new, commit.n, commit.effects) == (b"10-0", b"10-0", 0, [])


def test_trimmed_blocks_the_partition_where_its_cursor_stands(desk: Bench) -> None:
    done(desk, 11, 13, {12: [emit("a")]})
    desk.lane.ledger.next_commit()
    desk.lane.ledger.outcome([b"TRIMMED", b"5"])
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert (commit.expected, commit.new, commit.n, commit.release, commit.effects) == (b"10-0", b"10-0", 0, True, [])
    assert '"lost":5' in commit.block
    assert '"kind":"trimmed"' in commit.block
    desk.lane.ledger.outcome([b"OK"])
    assert desk.lane.ended == cells.STATE_QUARANTINED


def test_a_key_of_another_type_blocks_too(desk: Bench) -> None:
    done(desk, 11, 11)
    desk.lane.ledger.next_commit()
    desk.lane.ledger.outcome([b"TYPE", b"{shop:orders:0}:state:x"])
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert "{shop:orders:0}:state:x in Redis is of another type" in commit.block


def test_closing_commits_the_rest_and_releases_in_one(desk: Bench) -> None:
    done(desk, 11, 13)
    desk.lane.ledger._closing = True
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert (commit.n, commit.new, commit.release) == (3, b"13-0", True)
    desk.lane.ledger.outcome([b"OK"])
    assert desk.lane.ended == cells.STATE_RELEASED


def test_a_block_goes_with_the_commit_of_what_came_before(desk: Bench) -> None:
    done(desk, 11, 12)
    desk.lane.ledger.block('{"event":"13-0"}', cells.STATE_HALTED)
    commit = desk.lane.ledger.next_commit()
    assert commit is not None
    assert (commit.new, commit.n, commit.block, commit.release) == (b"12-0", 2, '{"event":"13-0"}', True)
    desk.lane.ledger.outcome([b"OK"])
    assert desk.lane.ended == cells.STATE_HALTED


def test_a_block_waits_for_the_last_of_a_commit_in_parts(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "EFFECTS_PER_COMMIT", 1)
    done(desk, 11, 12, {11: [emit("a")], 12: [emit("b")]})
    desk.lane.ledger.block("b", cells.STATE_QUARANTINED)
    blocks = []
    while desk.lane.ended is None:
        commit = desk.lane.ledger.next_commit()
        assert commit is not None
        blocks.append((commit.n, commit.block, commit.release))
        desk.lane.ledger.outcome([b"OK"])
    assert blocks[0] == (1, "", False)
    assert blocks[-1][1:] == ("b", True)
    assert sum(n for n, _, _ in blocks) == 2


@pytest.mark.parametrize("word", [b"CURSOR", b"HISTORY"])
def test_a_failover_while_the_lane_closes_releases_from_where_redis_is(
    desk: Bench, word: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old cursor would be refused for ever; and a failure of the lost history must not block this one."""
    answers = [[word, b"5-0"], [b"OK"]]
    sent: list[Commit] = []

    async def read_again(lane: Any, known: Any) -> Any:
        return session(cursor=b"5-0", count=5, seq=1)

    monkeypatch.setattr(sessions, "read_again", read_again)

    async def body() -> None:
        done(desk, 11, 12)
        desk.lane.ledger.block('{"event":"13-0"}', cells.STATE_QUARANTINED)
        closing = asyncio.ensure_future(desk.lane.ledger.close())
        while not closing.done():
            assert len(sent) < 10, "asks again and again"
            if desk.slice.committer._dirty:
                desk.slice.committer._dirty.clear()
                commit = desk.lane.ledger.next_commit()
                if commit is not None:
                    sent.append(commit)
                    desk.lane.ledger.outcome(answers.pop(0))
            await asyncio.sleep(0)
        await closing

    run(body())
    assert [(c.expected, c.seq, c.n, c.release) for c in sent] == [(b"10-0", 4, 2, True), (b"5-0", 2, 0, True)]
    assert sent[-1].block == ""
    assert desk.lane.ended == cells.STATE_RELEASED


def test_progress_waits_for_an_answer_and_not_without_need(desk: Bench) -> None:
    async def body() -> None:
        ledger = desk.lane.ledger
        await ledger.progress()
        done(desk, 11, 11)
        waiting = asyncio.ensure_future(ledger.progress())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert desk.lane in desk.slice.committer._dirty
        ledger.next_commit()
        ledger.outcome([b"FULL", b"out"])
        await asyncio.sleep(0)
        assert not waiting.done(), "a pause is no answer"
        ledger.outcome([b"OK"])
        await waiting

    run(body())


def test_what_finishes_while_a_commit_returns_stays_dirty(desk: Bench) -> None:
    """A handler's thread counts an event as done, then looks whether the lane is dirty already; the committer cleans,
    then looks what is done. Whatever the interleaving, an event that is done is committed or dirty."""
    ledger = desk.lane.ledger
    ledger.restart(session())
    total = 20_000
    ledger.open_run(events(desk, 1, total))
    ledger.lane.slice.committer.wake = lambda lane: None  # type: ignore[method-assign]

    def handler_thread() -> None:
        for ordinal in range(1, total + 1):
            ledger.effects.append((ordinal, b"%d-0" % ordinal, [emit(str(ordinal))]))
            ledger.done = ordinal
            if ledger.dirty_since == 0.0:
                ledger.dirty_since = float(ordinal)

    thread = threading.Thread(target=handler_thread)
    thread.start()
    words: list[Any] = []
    while True:
        over = not thread.is_alive()
        commit = ledger.next_commit()
        if commit is not None:
            assert commit.effects.count("X") == commit.n, "an event goes with its effects"
            words += commit.effects[5::6]
            ledger.outcome([b"OK"])
            assert ledger.dirty_since != 0.0 or ledger.done == ledger.committed
        elif over:
            break
    thread.join()
    assert words == [str(ordinal) for ordinal in range(1, total + 1)]
    assert (ledger.committed, ledger.dirty_since) == (total, 0.0)


def test_effects_are_held_up_to_a_number_of_bytes_also_while_their_commit_is_under_way(desk: Bench) -> None:
    ledger = desk.lane.ledger
    done(desk, 11, 12, {11: [emit("x" * (module.EFFECT_BYTES_HELD - 100))], 12: [emit("y" * 50)]})
    assert not ledger.heavy
    done(desk, 13, 13, {13: [emit("z" * 100)]})
    assert ledger.heavy
    assert shape(ledger) == (4, b"10-0", b"11-0", 1)
    assert ledger.heavy, "it may have to be sent again"
    ledger.outcome([b"OK"])
    assert not ledger.heavy
    assert shape(ledger) == (5, b"11-0", b"13-0", 2)
    ledger.outcome([b"OK"])
    desk.slice.lanes.update(dict.fromkeys(range(1, 1_000), desk.lane))
    done(desk, 14, 14, {14: [emit("x" * 100_000)]})
    assert ledger.heavy, "with a thousand lanes each holds less"


def test_with_order_key_too(bench: MakeBench) -> None:
    lane: Any = bench(handle, order=Order.KEY).lane
    ledger = lane.ledger
    large, none, small = [emit("x" * module.EFFECT_BYTES_HELD)], None, [emit("y" * 100)]
    flights = [Flight(n, b"k", event(lane, n), effects=effects) for n, effects in enumerate((large, none, small), 2)]
    ledger.finish(flights[:2])
    assert ledger.heavy
    ledger.finish(flights[2:])
    assert ledger.next_commit() is not None
    assert ledger.heavy
    ledger.outcome([b"OK"])
    assert not ledger.heavy
    assert ledger.next_commit() is not None
    assert (ledger.in_flight_bytes, ledger._measured_bytes) == (len(b"data") + 100, 0)


def test_no_event_starts_while_too_much_waits_for_its_commit(desk: Bench) -> None:
    lane = desk.lane

    async def body() -> None:
        lane.loop = asyncio.get_running_loop()
        lane.slice.commit_every_s = 1e9
        done(desk, 11, 11, {11: [emit("x" * module.EFFECT_BYTES_HELD)]})
        pausing = asyncio.ensure_future(lane.pause())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not pausing.done()
        desk.commit_once()
        assert await pausing

    run(body())
