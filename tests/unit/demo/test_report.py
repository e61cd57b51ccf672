"""The report: what it prints for the week, and how it tells a wrong result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.demo.rehearsal import TOPOLOGIES


@pytest.fixture
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TOPOLOGIES / "flights" / "expected.json").read_text())
    return found


def test_the_table_is_readable(committed: dict[str, Any]) -> None:
    from flights import report

    lines = report.render(committed).splitlines()
    assert max(map(len, lines)) <= 80
    assert "         376  rows refused by the schema: no usable tail number" in lines
    assert "  N722MQ        14    20.5    7,083" in lines
    assert lines[-1] == f"logbook checksum: {committed['checksum']}"


def test_an_empty_topology_is_reported_too() -> None:
    from flights import report

    found = report.figures([], [], sent=0, dead_letters=0, refused=None)
    assert "?  rows refused" in report.render(found)
    assert found["checksum"] == "00000000"


def test_differences_name_the_figure(committed: dict[str, Any]) -> None:
    from flights import report

    assert report.differences(committed, committed) == []
    assert report.differences(committed | {"refused": None}, committed) == []
    wrong = report.differences(committed | {"legs": 5100}, committed)
    assert wrong == ["legs: 5100, expected 5101"]


def test_refused_rows_are_counted_from_the_file_of_send(tmp_path: Path) -> None:
    from flights import report

    rejected = tmp_path / "rejected.jsonl"
    assert report.count_lines(rejected) is None
    rejected.write_text('{"a":1}\n{"a":2}\n')
    assert report.count_lines(rejected) == 2
