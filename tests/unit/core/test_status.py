"""Every state, every field and every doubt of a snapshot, from readings written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runnelctl.core.model import Policy, Processor, Start, Stream, Topology
from runnelctl.core.reading import Own, Reading, Report, SlotReport, TotalReport, UnitReport
from runnelctl.core.status import PartitionStatus, State, headline, judge

NOW = 1_700_000_000_000
TTL = 6_000
HOST, DEAD = "web-1:4711:aaaaaa", "web-2:99:bbbbbb"
QUARANTINE = {"event": "5-0", "type": "ValueError", "message": "bad\nvalue", "state": "quarantined"}
HALT = {"event": "5-0", "type": "ValueError", "message": "bad", "state": "halted", "partition": 1}
CRASHES = {"event": "", "type": "CrashLoop", "message": "dies", "state": "halted", "partition": None}
OWNED = Own(epoch=7, owner=f"{HOST}/0", cursor="5-0", count=10, added=10, length=10, last="5-0")
BEHIND = replace(OWNED, added=14, unread_ms=NOW - 2_500)


def topology(start: Start = Start.EARLIEST, partitions: int = 2) -> Topology:
    processor = Processor(name="billing", stream="orders", handler="h:f", processes=2, policy=Policy.HALT, start=start)
    orders = Stream(name="orders", partitions=partitions)
    return Topology(
        name="shop", file="/t.yaml", redis="embedded", streams={"orders": orders}, processors={"billing": processor}
    )


def reading(own: Own, *, halted: dict[str, Any] | None = None, **unit: Any) -> Reading:
    """Partition 0 is `own`, held by HOST, which reports `unit`; DEAD stopped beating a second too long ago."""
    slot = SlotReport("billing.0", pid=unit.pop("slot_pid", 4720), restarts=3)
    units = [UnitReport("billing", 0, slice="billing.0", pid=4720, **({"state": "running"} | unit))]
    return Reading(
        server_ms=NOW,
        beats={HOST: NOW - 120, DEAD: NOW - TTL - 1_000},
        reports={HOST: Report(pid=4711, slots=[slot, SlotReport("billing.1", pid=4721)], units=units)},
        halted={} if halted is None else {"billing": halted},
        units={("billing", 0): own, ("billing", 1): OWNED},
    )


def first(found: Reading, before: Reading | None = None, start: Start = Start.EARLIEST) -> PartitionStatus:
    return judge(topology(start), found, before).partitions[0]


@pytest.mark.parametrize(
    ("own", "report", "state", "why"),
    [
        (OWNED, {}, State.RUNNING, ""),
        (BEHIND, {}, State.RUNNING, ""),
        (BEHIND, {"busy_ms": 29_000, "silent_ms": 29_000}, State.RUNNING, ""),
        (BEHIND, {"silent_ms": 2 * TTL}, State.RUNNING, ""),
        (OWNED, {"silent_ms": 10 * TTL, "slot_pid": 0}, State.RUNNING, ""),
        (replace(OWNED, block=QUARANTINE), {}, State.QUARANTINED, "ValueError: bad value (event 5-0)"),
        (replace(OWNED, owner="", block=QUARANTINE), {}, State.QUARANTINED, "ValueError: bad value (event 5-0)"),
        (replace(OWNED, owner="", block={"message": "what?"}), {}, State.QUARANTINED, "what?"),
        (replace(OWNED, owner="", block=HALT), {}, State.HALTED, "ValueError: bad (event 5-0)"),
        (replace(OWNED, owner="", block={"state": "paused"}), {}, State.PAUSED, "no reason was recorded"),
        (OWNED, {"halted": HALT}, State.HALTED, "halted by partition 1"),
        (OWNED, {"halted": CRASHES}, State.HALTED, "CrashLoop: dies"),
        (Own(), {}, State.UNOWNED, "no host has it"),
        (replace(OWNED, owner=""), {}, State.UNOWNED, "no host has it"),
        (replace(OWNED, owner="web-3:1:cccccc/0"), {}, State.UNOWNED, "web-3:1 is gone"),
        (replace(OWNED, owner=f"{DEAD}/0"), {}, State.UNOWNED, "web-2:99 is silent for 7 s"),
        (BEHIND, {"slot_pid": 0}, State.STUCK, "slice billing.0 is dead or restarting (3 restarts)"),
        (BEHIND, {"silent_ms": 2 * TTL + 1}, State.STUCK, "slice billing.0 is silent for 12 s"),
        (BEHIND, {"busy_ms": 30_001}, State.STUCK, "an event is in the handler for 30 s, timeout 30 s"),
    ],
)
def test_states(own: Own, report: dict[str, Any], state: State, why: str) -> None:
    found = first(reading(own, **report))
    assert (found.state, found.why) == (state, why)
    assert found.state.is_problem == (state not in (State.RUNNING, State.PAUSED))


def test_the_states_are_those_of_the_contract() -> None:
    assert {state.value for state in State} == {"running", "paused", "quarantined", "halted", "unowned", "stuck"}


def test_a_processor_is_as_bad_as_its_worst_partition() -> None:
    for own, worst in ((BEHIND, State.RUNNING), (Own(), State.UNOWNED), (replace(OWNED, block=HALT), State.HALTED)):
        assert judge(topology(), reading(own)).processors[0].state is worst


def test_whose_it_is() -> None:
    found = first(reading(BEHIND))
    assert (found.host, found.pid, found.slice, found.epoch) == ("web-1:4711", 4720, "billing.0", 7)
    assert (found.cursor, found.lag, found.lag_ms, found.restarts, found.parked_keys) == ("5-0", 4, 2_500, 3, 0)
    nobody = first(reading(replace(OWNED, owner="")))
    assert (nobody.host, nobody.pid, nobody.slice, nobody.epoch) == (None, None, None, 7)
    dead = first(reading(replace(OWNED, owner=f"{DEAD}/1")))
    assert (dead.host, dead.pid, dead.slice) == ("web-2:99", None, "billing.1")


@pytest.mark.parametrize(
    ("own", "start", "expected"),
    [
        (Own(), Start.EARLIEST, ("0-0", 0, 0)),
        (Own(added=9, length=7, last="8-1", unread_ms=NOW - 5), Start.EARLIEST, ("0-0", 7, 5)),
        (Own(added=9, length=7, last="8-1", unread_ms=NOW - 5), Start.LATEST, ("8-1", 0, 0)),
        (replace(BEHIND, unread_ms=None), Start.EARLIEST, ("5-0", 4, 0)),  # somebody trimmed all that was unread
        (replace(BEHIND, unread_ms=NOW + 50), Start.EARLIEST, ("5-0", 4, 0)),  # an id ahead of the clock
        (replace(OWNED, added=9), Start.EARLIEST, ("5-0", 0, 0)),
    ],
)
def test_how_far_it_is(own: Own, start: Start, expected: tuple[str, int, int]) -> None:
    found = first(reading(own), start=start)
    assert (found.cursor, found.lag, found.lag_ms) == expected


def test_a_halt_without_a_culprit_is_the_error_of_every_partition_and_one_with_a_culprit_only_of_that() -> None:
    assert [each.error for each in judge(topology(), reading(OWNED, halted=CRASHES)).partitions] == [CRASHES, CRASHES]
    found = judge(topology(), reading(replace(OWNED, block=HALT), halted=HALT)).partitions
    assert [each.error for each in found] == [HALT, None]


def test_totals_are_summed_over_hosts_but_a_dead_hosts_rate_is_none() -> None:
    def done(processed: int, failed: int, rate: float, latency: list[int]) -> Report:
        return Report(totals=[TotalReport("billing", 0, processed, failed, rate, latency)])

    base = reading(OWNED)
    found = first(replace(base, reports={HOST: done(99, 1, 12.5, [0, 0, 99]), DEAD: done(1, 2, 50.0, [0, 0, 0, 1])}))
    assert (found.processed, found.failed, found.rate) == (100, 3, 12.5)
    assert found.p99_ms == pytest.approx(0.004)
    assert first(base).p99_ms is None


def test_rates_are_counted_from_an_earlier_reading_if_it_is_old_enough() -> None:
    reported = Report(totals=[TotalReport("billing", 0, processed=1, rate=3.0)])
    base = replace(reading(OWNED), reports={HOST: reported})

    def before(ago_ms: int, count: int, cursor: str | None = "1-0") -> Reading:
        earlier = {("billing", 0): replace(OWNED, count=count, cursor=cursor)}
        return replace(base, server_ms=NOW - ago_ms, units=earlier)

    assert first(base, before(2_000, 4)).rate == 3.0  # 6 events in 2 s
    assert first(base, before(1_000, 4)).rate == 6.0
    assert first(base, before(100, 4)).rate == 3.0  # as reported
    assert first(base, before(1_000, 11)).rate == 0.0  # somebody moved the cursor back
    assert first(base, before(1_000, 0, cursor=None)).rate == 3.0  # it began at an unknown count
    assert first(base, None).rate == 3.0


def test_hosts() -> None:
    web_1, web_2 = judge(topology(), reading(OWNED)).hosts
    assert (web_1.host, web_1.pid, web_1.beat_age_ms, web_1.slices, web_1.beating) == ("web-1:4711", 4711, 120, 2, True)
    assert (web_2.host, web_2.pid, web_2.beat_age_ms, web_2.slices, web_2.beating) == ("web-2:99", 99, 7_000, 0, False)
    odd = replace(reading(OWNED), beats={"odd": NOW + 5})
    assert [(host.host, host.pid, host.beat_age_ms) for host in judge(topology(), odd).hosts] == [("odd", 0, 0)]
    assert judge(topology(), reading(OWNED)).is_up
    assert not judge(topology(), replace(odd, beats={DEAD: 0})).is_up


def test_a_partition_that_was_not_read_counts_as_never_owned() -> None:
    found = judge(topology(partitions=3), reading(OWNED)).partitions[2]
    assert (found.state, found.cursor, found.lag) == (State.UNOWNED, "0-0", 0)


def test_a_message_cannot_reach_into_the_terminal() -> None:
    shown = headline({"event": "1-0\x1b[2J", "type": "E\x07", "message": "\x1b[31mred\r\n\tand more"})
    assert shown.isprintable()
    assert "[31mred and more (event 1-0" in shown


def test_a_long_message_is_cut() -> None:
    shown = headline({"event": "1-0", "type": "E", "message": "x" * 5_000})
    assert shown.startswith("E: xxx")
    assert shown.endswith("x… (event 1-0)")
    assert len(shown) < 350
