"""What a failed attempt costs, from the exception to the commit that records it; through a whole lane."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from runnelctl.core.model import Batch, CommitBounds, Policy, Retry
from runnelctl.event import Event, Reject, Skip
from runnelctl.runtime import board as cells
from runnelctl.runtime.context import StateUnavailable
from runnelctl.store.wire import encoded
from tests.bench import Bench, entry, session

MakeBench = Callable[..., Bench]


class Handler:
    """Records each attempt; raises what `trouble` says for an event id, or for a batch that holds it."""

    def __init__(self, **trouble: BaseException) -> None:
        self.trouble = {name.replace("_", "-").lstrip("e"): error for name, error in trouble.items()}
        self.attempts: list[tuple[str, int]] = []

    async def each(self, event: Event, ctx: Any) -> None:
        self.attempts.append((event.id, event.attempt))
        ctx.emit("out", {"k": event.id})
        if event.id in self.trouble:
            raise self.trouble[event.id].with_traceback(None)

    async def many(self, events: list[Event], ctx: Any) -> None:
        self.attempts.append(("+".join(event.id for event in events), events[0].attempt))
        for event in events:
            if event.id in self.trouble:
                raise self.trouble[event.id].with_traceback(None)


class Broken(Exception):
    pass


@pytest.mark.parametrize("plain", [False, True])
def test_a_failure_keeps_its_run_no_longer_than_it_needs(bench: MakeBench, plain: bool) -> None:
    """An exception has its traceback, that has the frame that called the handler, and that has the exception and the
    run: in such a circle records of any size would wait for the garbage collector."""
    raised: list[weakref.ref[Broken]] = []

    def fail(event: Event) -> None:
        error = Broken()
        raised.append(weakref.ref(error))
        raise error

    async def failing(event: Event) -> None:
        fail(event)

    made = bench(fail if plain else failing, policy=Policy.IGNORE, retry=Retry(attempts=1))
    gc.disable()
    try:
        made.drive(entry(1), entry(2))
        assert [each() for each in raised] == [None, None]
    finally:
        gc.enable()


def ended(bench: Bench) -> Callable[[], bool]:
    return lambda: bench.lane.ended is not None


def record(bench: Bench) -> dict[str, Any]:
    """The failure record that blocked the partition."""
    found: dict[str, Any] = json.loads(bench.store.commits[-1].block)
    return found


def passed(bench: Bench) -> int:
    return sum(commit.n for commit in bench.store.commits)


def outputs(bench: Bench, name: str = "{shop:out:0}:events") -> int:
    """Appends to a stream over all commits."""
    return sum(stream == name for stream, _ in bench.store.appended)


def test_events_that_work_are_passed(bench: MakeBench) -> None:
    handler = Handler()
    made = bench(handler.each)
    made.drive(*(entry(n) for n in range(1, 6)))
    assert handler.attempts == [(f"{n}-0", 1) for n in range(1, 6)]
    assert (passed(made), outputs(made), made.lane.ended) == (5, 5, cells.STATE_RELEASED)
    assert made.store.commits[-1].new == b"5-0"


@pytest.mark.parametrize(
    ("policy", "state", "word"),
    [(Policy.QUARANTINE, cells.STATE_QUARANTINED, "quarantined"), (Policy.HALT, cells.STATE_HALTED, "halted")],
)
def test_attempts_then_a_block_at_the_event(bench: MakeBench, policy: Policy, state: int, word: str) -> None:
    handler = Handler(e3_0=ValueError("no such plan"))
    made = bench(handler.each, policy=policy, retry=Retry(attempts=3, backoff_ms=0))
    made.drive(*(entry(n) for n in range(1, 6)), until=ended(made))
    assert handler.attempts == [("1-0", 1), ("2-0", 1), ("3-0", 1), ("3-0", 2), ("3-0", 3)]
    assert (made.lane.ended, passed(made), outputs(made)) == (state, 2, 2)
    assert made.store.commits[-1].release
    found = record(made)
    assert found.pop("time").endswith("Z")
    assert found.pop("pid") > 0
    trace = found.pop("traceback")
    assert "no such plan" in trace
    assert "in each" in trace
    assert "calls.py" not in trace, "ours is of no interest"
    assert found == {
        "event": "3-0", "key": "k", "payload": '{"k":"k","n":3}', "payload_bytes": 15, "type": "ValueError",
        "message": "no such plan", "attempts": 3, "kind": "raised", "policy": policy.value, "processor": "billing",
        "stream": "orders", "partition": 0, "epoch": 1000, "host": "h:1", "state": word,
    }  # fmt: skip
    assert made.store.commits[-1].block.startswith('{"event":"3-0"'), "lua/block_clear.lua looks for it"
    assert (made.cell(cells.U_FAILED), made.cell(cells.U_RETRIED), made.cell(cells.U_PROCESSED)) == (1, 2, 2)


def test_ignore_records_and_goes_on(bench: MakeBench) -> None:
    handler = Handler(e2_0=ValueError("no"), e4_0=ValueError("no"))
    made = bench(handler.each, policy=Policy.IGNORE, dead_letter="dead", retry=Retry(attempts=1))
    made.drive(*(entry(n) for n in range(1, 6)))
    assert (passed(made), made.lane.ended, made.cell(cells.U_FAILED)) == (5, cells.STATE_RELEASED, 2)
    assert outputs(made, "{shop:orders:0}:failures:billing") == 2
    assert outputs(made, "{shop:dead:0}:events") == 2
    assert outputs(made) == 3, "the failed ones emitted nothing"
    words = [word for commit in made.store.commits for word in commit.effects]
    at = words.index("h:dead-event")
    assert words[at + 1] == "2-0"
    assert b'{"k":"k","n":2}' in words


def test_skip_passes_over_without_a_trace(bench: MakeBench) -> None:
    handler = Handler(e2_0=Skip("not mine"))
    made = bench(handler.each)
    made.drive(*(entry(n) for n in range(1, 4)))
    assert handler.attempts == [("1-0", 1), ("2-0", 1), ("3-0", 1)]
    assert (passed(made), outputs(made), made.cell(cells.U_FAILED)) == (3, 2, 0)


def test_reject_is_not_tried_again(bench: MakeBench) -> None:
    handler = Handler(e2_0=Reject("never"))
    made = bench(handler.each, retry=Retry(attempts=9, backoff_ms=0))
    made.drive(*(entry(n) for n in range(1, 4)), until=ended(made))
    assert handler.attempts == [("1-0", 1), ("2-0", 1)]
    assert (record(made)["kind"], record(made)["type"], record(made)["attempts"]) == ("rejected", "Reject", 1)


def test_an_event_that_works_at_last_is_done_and_its_earlier_attempts_left_nothing(bench: MakeBench) -> None:
    seen = []

    async def handler(event: Event, ctx: Any) -> None:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        ctx.emit("out", {"k": "x"})
        seen.append(event.attempt)
        if event.id == "2-0" and event.attempt < 3:
            raise ValueError

    made = bench(handler, retry=Retry(attempts=3, backoff_ms=0))
    made.slice.load_states = _no_load  # type: ignore[method-assign, assignment]
    made.drive(*(entry(n) for n in range(1, 4)))
    assert seen == [1, 1, 2, 3, 1]
    assert (outputs(made), made.store.states) == (3, {"state:k": b'{"n":3}'})


async def _no_load(*_: Any) -> None:
    """States are read on the spot here."""


# --- what breaks a record of the failure itself -----------------------------------------------------------------------


@pytest.fixture
def unlogged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half characters in captured logs would break the reports that xdist sends home."""
    monkeypatch.setattr(logging.getLogger("runnelctl"), "disabled", True)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even this fails")


@pytest.mark.parametrize(
    "error",
    [
        Unspeakable(),
        ValueError("\udcff half a character"),
        ValueError("x" * 10**6),
        ExceptionGroup("g", [ValueError()]),
    ],
)
@pytest.mark.parametrize("policy", Policy)
@pytest.mark.usefixtures("unlogged")
def test_an_exception_that_cannot_be_told_is_a_failure_like_any_other(
    bench: MakeBench, error: Exception, policy: Policy
) -> None:
    handler = Handler(e1_0=error)
    made = bench(handler.each, policy=policy, dead_letter="dead")
    made.drive(entry(1), until=lambda: made.lane.ended is not None or passed(made) == 1)
    assert handler.attempts == [("1-0", 1), ("1-0", 2)]
    assert made.cell(cells.U_FAILED) == 1
    text = "".join(commit.block + repr(commit.effects) for commit in made.store.commits)
    assert len(text) < 100_000
    for commit in made.store.commits:
        for word in (commit.block, *commit.effects):
            _ = encoded(word) if isinstance(word, str) else word


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(
    "fields",
    [
        [b"data", b"\xff\xfe", b"key", b"\xff\x00"],
        [b"data", b"not json"],
        [b"other", b"x"],
        [b"key", b"\xff"],
        [b"data", b'{"k":"\\ud800"}'],
        [b"data", b"[" * 100_000],
        [b"data", b'{"k":"k"}', *(word for n in range(3_000) for word in (b"h:%d" % n, b"x"))],
        [b"data", b'{"k":"k"}', b"h:\xff", b"\xff"],
    ],
)
@pytest.mark.usefixtures("unlogged")
def test_an_entry_that_is_no_record_is_a_failure_like_any_other(
    bench: MakeBench, fields: list[bytes], policy: Policy
) -> None:
    async def handler(event: Event) -> None:
        raise ValueError(event.value)

    made = bench(handler, policy=policy, dead_letter="dead", retry=Retry(attempts=1))
    made.drive([b"1-0", fields], until=lambda: made.lane.ended is not None or passed(made) == 1)
    assert made.cell(cells.U_FAILED) == 1
    for commit in made.store.commits:
        assert len(commit.effects) < 5_000
        for word in (commit.block, *commit.effects):
            _ = encoded(word) if isinstance(word, str) else word


# --- batches --------------------------------------------------------------------------------------------------------


def test_a_batch_that_fails_is_split_and_only_the_culprit_pays(bench: MakeBench) -> None:
    handler = Handler(e3_0=ValueError("it was me"))
    made = bench(handler.many, policy=Policy.IGNORE, batch=Batch(size=4, within_ms=0))
    made.drive(*(entry(n) for n in range(1, 9)))
    assert handler.attempts == [
        ("1-0+2-0+3-0+4-0", 1), ("1-0+2-0+3-0+4-0", 2),
        ("1-0", 2), ("2-0", 2), ("3-0", 2), ("4-0", 2), ("5-0+6-0+7-0+8-0", 1),
    ]  # fmt: skip
    assert (made.cell(cells.U_FAILED), passed(made)) == (1, 8)
    assert outputs(made, "{shop:orders:0}:failures:billing") == 1


def test_in_a_split_batch_the_quarantine_is_at_the_culprit(bench: MakeBench) -> None:
    handler = Handler(e3_0=ValueError("it was me"))
    made = bench(handler.many, batch=Batch(size=4, within_ms=0))
    made.drive(*(entry(n) for n in range(1, 9)), until=ended(made))
    assert (passed(made), record(made)["event"], made.lane.ended) == (2, "3-0", cells.STATE_QUARANTINED)


def test_a_batch_that_works_the_second_time_is_not_split(bench: MakeBench) -> None:
    calls = []

    async def handler(events: list[Event]) -> None:
        calls.append((len(events), [event.attempt for event in events]))
        if len(calls) == 1:
            raise ValueError

    made = bench(handler, batch=Batch(size=3, within_ms=0))
    made.drive(*(entry(n) for n in range(1, 4)))
    assert calls == [(3, [1, 1, 1]), (3, [2, 2, 2])]


def test_a_rejected_batch_is_split_at_once(bench: MakeBench) -> None:
    handler = Handler(e2_0=Reject("never"))
    made = bench(handler.many, batch=Batch(size=3, within_ms=0), retry=Retry(attempts=5, backoff_ms=0))
    made.drive(*(entry(n) for n in range(1, 4)), until=ended(made))
    assert [ids for ids, _ in handler.attempts] == ["1-0+2-0+3-0", "1-0", "2-0"]
    assert record(made)["event"] == "2-0"


def test_a_batch_is_filled_from_several_reads(bench: MakeBench) -> None:
    handler = Handler()
    made = bench(handler.many, batch=Batch(size=5, within_ms=0))
    made.lane.feed([entry(1), entry(2)], 100.0)
    made.lane.feed([entry(3)], 100.0)
    made.drive(entry(4), until=lambda: made.lane.ledger.committed == 4)
    assert [ids for ids, _ in handler.attempts] == ["1-0+2-0+3-0+4-0"]


# --- deaths ---------------------------------------------------------------------------------------------------------


def test_an_event_under_suspicion_runs_alone_after_a_commit(bench: MakeBench) -> None:
    batches = []

    async def handler(events: list[Event]) -> None:
        batches.append([(event.id, event.attempt) for event in events])
        if events[0].id == "3-0":
            assert made.lane.ledger.committed == 2, "what went before is safe"

    at = session(suspect=3, alone_until=3, tries=1)
    made = bench(handler, at=at, batch=Batch(size=10, within_ms=0), retry=Retry(attempts=3))
    made.drive(*(entry(n) for n in range(1, 6)))
    flat = [pair for batch in batches for pair in batch]
    assert [event_id for event_id, _ in flat] == [f"{n}-0" for n in range(1, 6)]
    assert dict(flat)["3-0"] == 2
    assert [batch for batch in batches if ("3-0", 2) in batch] == [[("3-0", 2)]]


@pytest.mark.parametrize("policy", Policy)
def test_an_event_that_surely_killed_its_process_too_often_is_not_tried_again(bench: MakeBench, policy: Policy) -> None:
    handler = Handler()
    at = session(
        suspect=2, tries=2, sure=True, death="slice billing.0 (pid 7) was killed by SIGSEGV\nlast output:\n  x"
    )
    made = bench(handler.each, at=at, policy=policy)
    made.drive(*(entry(n) for n in range(1, 4)), until=lambda: made.lane.ended is not None or passed(made) == 3)
    assert "2-0" not in [event_id for event_id, _ in handler.attempts]
    assert made.cell(cells.U_FAILED) == 1
    if policy is not Policy.IGNORE:
        found = record(made)
        assert (found["type"], found["kind"], found["attempts"]) == ("ProcessDied", "died", 2)
        assert found["message"] == "slice billing.0 (pid 7) was killed by SIGSEGV"
        assert found["traceback"] == "last output:\n  x"
    else:
        assert [event_id for event_id, _ in handler.attempts] == ["1-0", "3-0"]


def test_nothing_starts_before_the_end_of_who_killed_its_process_is_committed(bench: MakeBench) -> None:
    """The next one may kill the process, too. Then it is the suspect, and all that is known of this one is forgotten:
    the two would have their tries in turn, for ever."""
    committed: list[int] = []

    async def handler(_: Event) -> None:
        committed.append(made.lane.ledger.committed)

    at = session(suspect=1, tries=2, sure=True, death="killed by SIGSEGV")
    made = bench(handler, at=at, policy=Policy.IGNORE)
    made.drive(entry(1), entry(2), lag=5)
    assert committed == [1]


def test_an_event_that_was_only_near_is_tried_before_it_is_convicted(bench: MakeBench) -> None:
    """Several were in flight each time: it may be innocent, and is tried alone."""
    handler = Handler()
    made = bench(handler.each, at=session(suspect=2, tries=2, sure=False))
    made.drive(*(entry(n) for n in range(1, 4)))
    assert [event_id for event_id, _ in handler.attempts] == ["1-0", "2-0", "3-0"]
    assert (made.cell(cells.U_FAILED), made.lane.ended) == (0, cells.STATE_RELEASED)


@pytest.mark.parametrize("kind", ["each", "batch"])
def test_a_state_that_cannot_be_read_is_no_failed_attempt(bench: MakeBench, kind: str) -> None:
    """Redis was away for longer than the event has attempts: that is not the event's fault."""
    left = 5
    attempts: list[int] = []

    def fetch(_: str) -> bytes | None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise StateUnavailable("Redis is away")
        return b'{"n":41}'

    async def each(event: Event, ctx: Any) -> None:
        attempts.append(event.attempt)
        ctx.state["n"] += 1

    async def batch(events: list[Event], ctx: Any) -> None:
        attempts.append(events[0].attempt)
        ctx.state_of("k")["n"] += 1

    made = bench(each if kind == "each" else batch, batch=Batch(size=1, within_ms=1) if kind == "batch" else None)
    made.lane.states._fetch = fetch

    async def load(*_: object) -> None:
        """Nobody has it at hand: the handler asks again."""

    made.slice.load_states = load  # type: ignore[method-assign]
    made.drive(entry(1))
    assert attempts == [1] * 6
    assert made.cell(cells.U_FAILED) == 0
    assert made.store.states["state:k"] == b'{"n":42}'


def test_a_suspect_is_announced_before_it_is_tried(bench: MakeBench) -> None:
    """By a commit of nothing: only a host that is lost after it speaks against the event."""
    tried: list[tuple[str, int]] = []

    async def handler(event: Event) -> None:
        tried.append((event.id, len(made.store.commits)))

    made = bench(handler, at=session(suspect=1, tries=1))
    made.drive(*(entry(n) for n in range(1, 4)))
    assert tried[0] == ("1-0", 1)
    assert (made.store.commits[0].n, made.store.commits[0].release) == (0, False)


def test_a_loss_found_at_the_start_blocks_before_anything_runs(bench: MakeBench) -> None:
    handler = Handler()
    made = bench(handler.each, at=session(lost=1234, cursor=b"7-0", count=7))
    made.drive(entry(9), until=ended(made))
    assert handler.attempts == []
    assert (record(made)["lost"], record(made)["event"], record(made)["type"]) == (1234, "", "EventsTrimmed")
    assert "1,234 unread event(s) after 7-0" in record(made)["message"]
    assert made.store.commits[-1].n == 0


def test_an_edited_record_is_what_the_handler_sees(bench: MakeBench) -> None:
    seen = []

    async def handler(event: Event) -> None:
        seen.append((event.id, event.value, event.key))

    made = bench(handler, at=session(edit_id=b"2-0", edit=b'{"k":"k","n":"mended"}'))
    made.drive(entry(1), entry(2), entry(3))
    assert [value["n"] for _, value, _ in seen] == [1, "mended", 3]
    assert {key for *_, key in seen} == {"k"}


# --- the board --------------------------------------------------------------------------------------------------------


def test_between_turns_nothing_is_in_flight(bench: MakeBench) -> None:
    """While other lanes have their turn, a death or a timeout must not be put down to an event that is done."""

    async def handler(event: Event) -> None:
        made.lane.check_at = 0.0

    made = bench(handler)
    pauses = []
    sleeping = made.lane.pause

    async def pause() -> bool:
        step = asyncio.ensure_future(sleeping())
        await asyncio.sleep(0)  # the pause gives its turn away: here others run
        pauses.append(made.since)
        return await step

    made.lane.pause = pause  # type: ignore[method-assign]
    made.drive(*(entry(n) for n in range(1, 4)))
    assert len(pauses) >= 3
    assert set(pauses) == {0.0}


@pytest.mark.parametrize("over", ["stop", "resync", "end"])
def test_what_is_over_while_the_others_have_their_turn_stays_over(bench: MakeBench, over: str) -> None:
    lane = bench(Handler().each).lane

    async def scene() -> None:
        step = asyncio.ensure_future(lane.pause())
        await asyncio.sleep(0)
        assert not step.done(), "others run now"
        getattr(lane, over)(*[cells.STATE_LOST] * (over == "end"))
        assert await step is False
        assert lane.check_at == 0.0, "nobody takes a look around for granted"

    asyncio.run(scene())


def test_after_the_last_event_nothing_is_in_flight(bench: MakeBench) -> None:
    made = bench(Handler().each)
    made.drive(entry(1))
    assert made.since == 0.0


def test_past_the_deadline_no_event_is_started(bench: MakeBench) -> None:
    handler = Handler()
    made = bench(handler.each)
    made.board.d[cells.H_DEADLINE] = 0.0
    rounds = iter(range(200))
    made.drive(entry(1), until=lambda: next(rounds, None) is None)
    assert handler.attempts == []
    assert made.lane.ended == cells.STATE_RELEASED


def test_a_lease_that_is_not_wanted_any_more_stops_after_the_event(bench: MakeBench) -> None:
    async def handler(event: Event) -> None:
        made.board.q[made.lane.base + cells.U_WANTED] = 0
        made.lane.check_at = 0.0

    made = bench(handler)
    made.drive(*(entry(n) for n in range(1, 6)), until=lambda: False)
    assert (passed(made), made.lane.ended) == (1, cells.STATE_RELEASED)


def test_a_lane_that_was_fenced_starts_nothing_more(bench: MakeBench) -> None:
    handler = Handler()
    made = bench(handler.each, commit=CommitBounds(every_ms=0, events=1))
    made.store.replies = [[b"FENCED", b"1001", b"b/0"]]
    made.drive(*(entry(n) for n in range(1, 50)), until=lambda: False)
    assert made.lane.ended == cells.STATE_LOST
    assert len(handler.attempts) == 1
    assert made.store.commits == []
