"""Slots and units of a host, whole and partial."""

from __future__ import annotations

from runnelctl.core.model import Processor, Stream, Topology
from runnelctl.core.plan import plan

OF = Topology(
    name="shop",
    file="/t.yaml",
    redis="embedded",
    streams={"orders": Stream(name="orders", partitions=4)},
    processors={name: Processor(name=name, stream="orders", handler="h:f", processes=3) for name in ("bill", "ship")},
)


def test_a_whole_plan_has_everything_numbered_through() -> None:
    whole = plan(OF)
    assert [unit.index for unit in whole.units] == list(range(8))
    assert [slot.name for slot in whole.slots] == ["bill.0", "bill.1", "bill.2", "ship.0", "ship.1", "ship.2"]
    assert not whole.partial


def test_only_leaves_out_the_others() -> None:
    assert plan(OF, ["ship"]).processors == ("ship",)
    assert not plan(OF, ["ship"]).partial


def test_a_partial_plan_has_the_partitions_asked_for_and_no_more_slices_than_those() -> None:
    some = plan(OF, ["bill", "ship"], {"bill": [3], "ship": [2, 0]})
    assert [(unit.index, unit.processor, unit.partition) for unit in some.units] == [
        (0, "bill", 3),
        (1, "ship", 0),
        (2, "ship", 2),
    ]
    assert [slot.name for slot in some.slots] == ["bill.0", "ship.0", "ship.1"]
    assert some.partial
