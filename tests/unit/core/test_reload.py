"""What a reload refuses and starts anew, where things are on the board afterwards, and who may run side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runnelctl.core import changes, reload
from runnelctl.core.model import Partitioner, Policy, Processor, Retention, Stream, Task, Topology
from runnelctl.core.plan import plan, replan


def processor(name: str, **more: Any) -> Processor:
    return Processor(name=name, stream="orders", handler="m:f", **({"processes": 2} | more))


def topology(*processors: Processor, **more: Any) -> Topology:
    facts: dict[str, Any] = {
        "name": "shop", "file": "t.yaml", "redis": "embedded",
        "streams": {"orders": Stream(name="orders", partitions=3)},
    }  # fmt: skip
    return Topology(processors={each.name: each for each in processors}, **(facts | more))


OLD = topology(processor("bill"), processor("ship"))


@pytest.mark.parametrize(
    ("new", "refused"),
    [
        (OLD, []),
        (replace(OLD, drain_ms=1, processors={}, tasks={"t": Task(name="t", run="m:f", every_ms=1)}), []),
        (replace(OLD, name="other", redis="redis://h"), ["name cannot be reloaded", "redis cannot be reloaded"]),
        (replace(OLD, lease_ttl_ms=1), ["lease.ttl cannot be reloaded"]),
        (
            replace(OLD, streams={"orders": Stream(name="orders", partitions=4, partitioner=Partitioner.MURMUR2)}),
            ["partitions of stream 'orders' cannot be reloaded", "partitioner of stream 'orders' cannot be reloaded"],
        ),
    ],
)
def test_what_is_refused(new: Topology, refused: list[str]) -> None:
    assert reload.refusals(OLD, new) == refused


def test_what_is_started_anew() -> None:
    both = {"bill", "ship"}
    assert reload.changed(OLD, OLD) == set()
    assert reload.changed(OLD, topology(processor("bill", policy=Policy.IGNORE), processor("ship"))) == {"bill"}
    assert reload.changed(OLD, topology(processor("bill", processes=3), processor("more"))) == set()
    assert reload.changed(OLD, replace(OLD, drain_ms=5)) == set()
    assert reload.changed(OLD, replace(OLD, pythonpath=("/x",))) == both
    orders = OLD.streams["orders"]
    more = {"orders": orders, "mail": Stream(name="mail", partitions=1)}
    assert reload.changed(OLD, replace(OLD, streams=more)) == set(), "nobody there knows the new stream"
    assert reload.changed(OLD, replace(OLD, streams={"orders": replace(orders, capacity=5)})) == both
    kept = replace(orders, retention=Retention(events=5))
    assert reload.changed(OLD, replace(OLD, streams={"orders": kept})) == set(), "the keeper trims"


def test_tasks_are_started_anew_together() -> None:
    task = Task(name="t", run="m:f", every_ms=1)
    old = replace(OLD, tasks={"t": task})
    assert not reload.tasks_changed(old, replace(old, processors={}))
    assert reload.tasks_changed(old, replace(old, tasks={"t": replace(task, leader=True)}))
    assert reload.tasks_changed(old, replace(old, pythonpath=("/x",)))
    assert reload.tasks_changed(OLD, old) and reload.tasks_changed(old, OLD)


def test_what_was_there_keeps_its_place() -> None:
    first = plan(OLD)
    more = replan(first, topology(processor("bill", processes=3), processor("more", processes=1)), None)
    assert [(slot.name, slot.index, slot.retired) for slot in more.slots] == [
        ("bill.0", 0, False), ("bill.1", 1, False), ("ship.0", 2, True), ("ship.1", 3, True),
        ("bill.2", 4, False), ("more.0", 5, False),
    ]  # fmt: skip
    assert more.processors == ("bill", "more")
    assert [slot.name for slot in more.slots_of("bill")] == ["bill.0", "bill.1", "bill.2"]
    assert more.slots_of("ship") == () and more.units_of("ship") == ()
    assert [unit.index for unit in more.units_of("more")] == [6, 7, 8]
    assert more.processor(more.slots[2]).name == "ship", "what is gone is still known, to bury it"
    again = replan(more, OLD, None)
    assert [(slot.name, slot.index) for slot in again.slots if not slot.retired] == [
        ("bill.0", 0), ("bill.1", 1), ("ship.0", 2), ("ship.1", 3),
    ]  # fmt: skip
    assert [unit.index for unit in again.units_of("ship")] == [3, 4, 5]


def test_a_processor_on_another_stream_has_other_units() -> None:
    streams = {"orders": OLD.streams["orders"], "mail": Stream(name="mail", partitions=1)}
    moved = replan(plan(OLD), topology(replace(processor("bill"), stream="mail"), streams=streams), None)
    assert [(unit.stream, unit.index) for unit in moved.units_of("bill")] == [("mail", 6)]


def test_only_stays_as_it_was() -> None:
    after = replan(plan(OLD, ["bill"]), topology(processor("bill"), processor("more")), ["bill"])
    assert after.processors == ("bill",)


def test_a_task_keeps_its_place_as_long_as_its_ticks_are_the_same() -> None:
    beat, report = Task(name="beat", run="m:f", every_ms=1), Task(name="report", run="m:f", cron="* * * * *")
    old = plan(replace(OLD, tasks={"beat": beat, "report": report}))
    slower, other = replace(beat, every_ms=2), replace(report, run="m:g")
    new = replan(old, replace(OLD, tasks={"report": other, "beat": slower}), None)
    assert new.tasks == (beat, other, slower) and new.gone_tasks == {0}
    back = replan(new, replace(OLD, tasks={"beat": beat}), None)
    assert back.gone_tasks == {1, 2} and back.tasks[0] is beat
    none = replan(back, OLD, None)
    assert none.tasks_slot not in none.places and back.tasks_slot in back.places


def test_who_may_run_side_by_side() -> None:
    here = {
        "lease.ttl_ms": "6000",
        "streams.a.partitions": "8",
        "processors.b.stream": "a",
        "processors.b.policy": "HALT",
    }
    assert changes.conflicts(here, here) == []
    harmless = {"processors.b.policy": "IGNORE", "processors.b.retry.attempts": "9", "tasks.t.every_ms": "5"}
    assert changes.conflicts(here, here | harmless) == []
    assert changes.conflicts(here, {"processors.c.stream": "x"}) == [], "what only one has is its own"
    assert changes.conflicts(here, here | {"lease.ttl_ms": "1", "processors.b.stream": "x"}) == [
        "lease.ttl_ms: 6000 here, 1 there",
        "processors.b.stream: a here, x there",
    ]
    assert changes.conflicts(here, here | {"streams.a.partitions": "9"}) == ["streams.a.partitions: 8 here, 9 there"]
