"""The week's rows, and what the demo's real handlers make of them."""

from __future__ import annotations

import json
import sys
from typing import Any

import jsonschema
import pytest

from tests.unit.demo.rehearsal import ROOT, TOPOLOGIES, Record, Run, rehearse

sys.path.insert(0, str(TOPOLOGIES))  # as `pythonpath: [.]` in the topology files does


@pytest.fixture(scope="session")
def rows() -> list[Record]:
    """Every line of week.jsonl, also those that the schema refuses."""
    return [json.loads(line) for line in (TOPOLOGIES / "flights" / "week.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def schemas() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in (ROOT / "schemas").glob("*.json")}


@pytest.fixture(scope="session")
def refused(rows: list[Record], schemas: dict[str, Any]) -> list[Record]:
    """The rows that do not fit schemas/flight.json."""
    validator = jsonschema.Draft202012Validator(schemas["flight"])
    return [row for row in rows if not validator.is_valid(row)]


@pytest.fixture(scope="session")
def sent(rows: list[Record], refused: list[Record]) -> list[Record]:
    """The rows that get into the stream, in the file's order."""
    dropped = {id(row) for row in refused}
    return [row for row in rows if id(row) not in dropped]


@pytest.fixture(scope="session")
def week(sent: list[Record]) -> Run:
    """The real handlers run over the week, in order."""
    return rehearse(sent)
