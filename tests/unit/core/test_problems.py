"""The lines of `status --check`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runnelctl.core.problems import problems, ranges
from runnelctl.core.reading import Own
from runnelctl.core.status import judge
from tests.unit.core.test_status import BEHIND, CRASHES, HALT, OWNED, QUARANTINE, reading, topology


def lines(*owns: Own, **about: object) -> list[str]:
    base = reading(OWNED, **about)  # type: ignore[arg-type]
    units = {("billing", partition): own for partition, own in enumerate(owns)}
    return problems(judge(topology(partitions=len(owns)), replace(base, units=units)))


def test_nothing_to_say_when_all_is_well() -> None:
    assert lines(OWNED, BEHIND) == []


def test_what_is_paused_is_no_problem() -> None:
    assert lines(OWNED, replace(OWNED, block={"state": "paused"})) == []


def test_every_quarantined_partition_has_its_line_and_the_rest_is_grouped() -> None:
    quarantined = replace(BEHIND, owner="", block=QUARANTINE)
    assert lines(Own(), quarantined, Own(added=2, length=2), OWNED, quarantined, Own()) == [
        "billing:1 quarantined: ValueError: bad value (event 5-0); 4 waiting",
        "billing:4 quarantined: ValueError: bad value (event 5-0); 4 waiting",
        "billing:0,2,5 unowned: no host has it; 2 waiting",
    ]


def test_a_halt_is_one_line_for_its_cause_and_one_for_the_rest() -> None:
    halted = replace(OWNED, block=HALT)
    assert lines(OWNED, halted, OWNED, OWNED, halted=HALT) == [
        "billing:1 halted: ValueError: bad (event 5-0)",
        "billing:0,2-3 halted: halted by partition 1",
    ]
    assert lines(*[OWNED] * 1024, halted=CRASHES) == ["billing:0-1023 halted: CrashLoop: dies"]


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([4], "4"), ([0, 1, 2, 5, 7, 8], "0-2,5,7-8"), (range(9), "0-8")]
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text
