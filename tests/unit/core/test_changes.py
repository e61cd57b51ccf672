"""A file against what Redis has: every kind of difference, and none where there is none."""

from __future__ import annotations

from runnelctl import topology as descriptions
from runnelctl.core.changes import changes
from runnelctl.core.model import Policy, Processor, Stream, Topology


def topology(policy: Policy = Policy.HALT, *more: str) -> Topology:
    streams = {name: Stream(name=name, partitions=2) for name in ("orders", *more)}
    bill = Processor(name="bill", stream="orders", handler="h:f", processes=1, policy=policy)
    return Topology(name="shop", file="/t", redis="", streams=streams, processors={"bill": bill})


def found(of: Topology, streams: dict[str, int], lags: dict[tuple[str, str], int], ran: Topology | None) -> list[str]:
    there = {} if ran is None else descriptions.describe(ran)
    listed = changes(of, streams, lags, descriptions.describe(of), there)
    return [f"{each.kind} {each.what} {each.name}: {each.detail} {each.lag}" for each in listed]


def test_all_is_new_to_an_empty_redis() -> None:
    assert found(topology(), {}, {}, None) == [
        "new stream orders: 2 partition(s) by crc32 None",
        "new processor bill: on orders, from the earliest None",
    ]


def test_the_same_file_again_changes_nothing() -> None:
    assert found(topology(), {"orders": 2}, {("orders", "bill"): 7}, topology()) == []
    assert found(topology(), {"orders": 2}, {("orders", "bill"): 7}, None) == [], (
        "only senders and an old host were here"
    )


def test_what_changed_is_named_with_both_values() -> None:
    there = {"orders": 2}
    assert found(topology(Policy.IGNORE), there, {("orders", "bill"): 0}, topology()) == [
        "changed processor bill: policy: HALT → IGNORE None"
    ]


def test_what_is_gone_says_what_it_leaves() -> None:
    there = {"orders": 2, "old": 4}
    (stream, processor) = found(topology(), there, {("orders", "bill"): 0, ("orders", "ship"): 1234}, topology())
    assert stream == "gone stream old: 4 partition(s) stay in Redis as they are None"
    assert processor.startswith("gone processor ship: 1,234 unread event(s) of orders; ")
    assert processor.endswith(" 1234")


def test_a_processor_that_moved_to_another_stream_is_new_there_and_gone_here() -> None:
    kinds = [
        line.split(":")[0] for line in found(topology(), {"orders": 2, "old": 2}, {("old", "bill"): 3}, topology())
    ]
    assert kinds == ["new processor bill", "gone stream old", "gone processor bill"]
