"""What doctor thinks of things."""

from __future__ import annotations

from runnelctl.cli import diagnosis
from runnelctl.cli.diagnosis import Verdict
from runnelctl.core.model import Processor, Stream, Topology


def shop(processes: int = 4) -> Topology:
    billing = Processor(name="billing", stream="orders", handler="a:b", processes=processes)
    return Topology(
        name="shop", file="/shop.yaml", redis="embedded",
        streams={"orders": Stream(name="orders", partitions=8)}, processors={"billing": billing},
    )  # fmt: skip


def test_python() -> None:
    assert diagnosis.python((3, 11, 0), "3.11.0", "Linux").verdict is Verdict.OK
    assert diagnosis.python((3, 10, 9), "3.10.9", "Linux").verdict is Verdict.BAD
    assert diagnosis.python((3, 12, 0), "3.12.0", "Windows").verdict is Verdict.BAD


def test_packages() -> None:
    found = diagnosis.packages({"redis": "8.0", "hiredis": None})
    assert (found.verdict, found.message) == (Verdict.BAD, "not installed: hiredis; pip install runnelctl")
    assert diagnosis.packages({"redis": "8.0"}).message == "redis 8.0"


def test_limits() -> None:
    assert diagnosis.open_files(shop(), 1024).verdict is Verdict.OK
    short = diagnosis.open_files(shop(100), 1024)
    assert short.verdict is Verdict.BAD and "ulimit -n" in short.message
    assert diagnosis.cores(shop(16), 2).verdict is Verdict.OK
    assert diagnosis.cores(shop(17), 2).verdict is Verdict.WARNING
    assert diagnosis.disk("/x", 1 << 30).verdict is Verdict.OK
    assert diagnosis.disk("/x", (1 << 30) - 1).verdict is Verdict.WARNING
    assert diagnosis.connections(shop(), 100, 84).verdict is Verdict.OK
    full = diagnosis.connections(shop(), 100, 85)
    assert full.verdict is Verdict.BAD and "maxclients" in full.message


def test_far_away_and_out_of_step() -> None:
    assert diagnosis.ping([0.1, 0.2, 90.0]).verdict is Verdict.OK  # one slow answer is nothing
    assert diagnosis.ping([6.0, 7.0, 8.0]).verdict is Verdict.WARNING
    assert diagnosis.clock(999.0).verdict is Verdict.OK
    assert diagnosis.clock(-1_500.0).verdict is Verdict.WARNING
