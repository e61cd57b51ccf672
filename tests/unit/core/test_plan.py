"""A topology's meaning on one host."""

from __future__ import annotations

from runnelctl.core.model import Processor, Stream, Topology
from runnelctl.core.plan import plan

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
