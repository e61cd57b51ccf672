"""A topology's meaning on one host: slots and units, whole and partial."""

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


TOPOLOGY = Topology(
    name="shop",
    file="/shop.yaml",
    redis="embedded",
    streams={"orders": Stream(name="orders", partitions=3), "dead": Stream(name="dead", partitions=1)},
    processors={
        "billing": Processor(name="billing", stream="orders", handler="a:b", processes=2),
        "audit": Processor(name="audit", stream="orders", handler="a:c", processes=1),
        "morgue": Processor(name="morgue", stream="dead", handler="a:d", processes=1),
    },
)


def test_slots_and_units_are_numbered_in_the_order_of_the_file() -> None:
    made = plan(TOPOLOGY)
    assert [slot.name for slot in made.slots] == ["billing.0", "billing.1", "audit.0", "morgue.0"]
    assert [slot.index for slot in made.slots] == [0, 1, 2, 3]
    units = [(unit.processor, unit.stream, unit.partition) for unit in made.units]
    assert units == [
        *[("billing", "orders", partition) for partition in range(3)],
        *[("audit", "orders", partition) for partition in range(3)],
        ("morgue", "dead", 0),
    ]
    assert [unit.index for unit in made.units] == list(range(7))


def test_lookups_agree_with_the_lists() -> None:
    made = plan(TOPOLOGY)
    assert made.processors == ("billing", "audit", "morgue")
    for name in made.processors:
        assert all(made.processor(unit).name == name for unit in made.units_of(name))
        assert all(slot.processor == name for slot in made.slots_of(name))
    assert sum(len(made.units_of(name)) for name in made.processors) == len(made.units)
    assert made.stream(made.units[-1]).name == "dead"


def test_only_some_processors_leave_no_gaps_in_the_numbers() -> None:
    made = plan(TOPOLOGY, only=["morgue", "audit"])
    assert made.processors == ("audit", "morgue")
    assert [slot.index for slot in made.slots] == [0, 1]
    assert [unit.index for unit in made.units] == [0, 1, 2, 3]
    assert plan(TOPOLOGY, only=[]).units == ()
