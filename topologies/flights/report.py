"""Prints what the flights demo came to, read from the state that its processors keep in Redis.

    python topologies/flights/report.py             # the tables
    python topologies/flights/report.py --check     # and exit 1 if a figure is not as in expected.json
    python topologies/flights/report.py --json      # the figures, for a machine

The figures are final once `runnelctl up topologies/flights.yaml --drain` has returned.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import runnelctl

HERE = Path(__file__).parent
KM_PER_MILE = 1.609344

State = dict[str, Any]
Figures = dict[str, Any]


def read(topology: Path, rejected: Path) -> Figures:
    """The figures of a topology that is up or was. Raises RunnelctlError if its Redis can't be reached."""
    with runnelctl.connect_sync(str(topology)) as client:
        return figures(
            books=client.states("logbook"),
            stations=client.states("stations"),
            sent=client.length("flights"),
            dead_letters=client.length("flights.dead"),
            refused=count_lines(rejected),
        )


def count_lines(rejected: Path) -> int | None:
    """How many records `send` refused, from the file it wrote them to; None if there is no such file."""
    if not rejected.exists():
        return None
    with rejected.open("rb") as lines:
        return sum(1 for _ in lines)


def figures(
    books: Iterable[tuple[str, State]],
    stations: Iterable[tuple[str, State]],
    sent: int,
    dead_letters: int,
    refused: int | None,
) -> Figures:
    """Everything the report prints, from the state of every aircraft and station and the lengths of the streams.

    The logbook does not count what it passes over, so that is what was sent, less what was entered or set aside.
    """
    fleet = dict(books)

    def total(field: str) -> int:
        return sum(book[field] for book in fleet.values())

    return {
        "sent": sent,
        "refused": refused,
        "cancelled": sent - total("legs") - dead_letters,
        "dead_letters": dead_letters,
        "aircraft": len(fleet),
        **{field: total(field) for field in ("legs", "air_minutes", "miles", "turnarounds", "away_minutes")},
        "longest_away_minutes": max((book["longest_away_minutes"] for book in fleet.values()), default=0),
        "switches": total("switches"),
        "busiest": busiest(fleet),
        "stations": busiest_stations(stations),
        "checksum": checksum(fleet),
    }


def busiest(fleet: dict[str, State]) -> list[Figures]:
    """The five aircraft with the most legs; among equals those longer in the air, then by tail number."""
    ranked = sorted(fleet.items(), key=lambda item: (-item[1]["legs"], -item[1]["air_minutes"], item[0]))
    return [
        {"tailnum": tail, **{field: book[field] for field in ("legs", "air_minutes", "miles")}}
        for tail, book in ranked[:5]
    ]


def busiest_stations(stations: Iterable[tuple[str, State]]) -> list[Figures]:
    """The five stations with the most turnarounds, then by name."""
    ranked = sorted(stations, key=lambda item: (-item[1]["turnarounds"], item[0]))
    return [
        {
            "station": name,
            "turnarounds": state["turnarounds"],
            "minutes": state["minutes"],
            "longest_minutes": state["longest"][0],
            "longest_tailnum": state["longest"][1],
        }
        for name, state in ranked[:5]
    ]


def checksum(fleet: dict[str, State]) -> str:
    """Eight hex digits over the trail of every aircraft, by tail number: a leg lost, doubled or swapped changes it."""
    text = "".join(f"{tail} {fleet[tail]['trail']:08x}\n" for tail in sorted(fleet))
    return f"{zlib.crc32(text.encode()):08x}"


def render(found: Figures) -> str:
    """The figures as text, at most 72 columns wide."""
    refused = "?" if found["refused"] is None else f"{found['refused']:,}"
    distance = f"{found['miles']:,} miles ({round(found['miles'] * KM_PER_MILE):,} km)"
    lines = [
        "A week of departures from New York, 7 to 13 February 2013",
        "",
        f"  {refused:>10}  rows refused by the schema: no usable tail number",
        f"  {found['sent']:>10,}  flights sent, of which",
        f"  {found['legs']:>10,}    flown, {hours(found['air_minutes'])} hours, {distance}",
        f"  {found['cancelled']:>10,}    cancelled, passed over",
        f"  {found['dead_letters']:>10,}    set aside in flights.dead",
        f"  {found['aircraft']:>10,}  aircraft",
        f"  {found['turnarounds']:>10,}  turnarounds, the longest {hours(found['longest_away_minutes'])} hours",
        f"  {found['switches']:>10,}    of them left from another airport than last time",
        "",
        "  aircraft    legs   hours    miles",
    ]
    for line in found["busiest"]:
        lines.append(f"  {line['tailnum']:<8} {line['legs']:>7} {hours(line['air_minutes']):>7} {line['miles']:>8,}")
    lines += ["", "  station  turnarounds   hours away: mean   longest"]
    for line in found["stations"]:
        mean, longest = hours(line["minutes"] / line["turnarounds"]), hours(line["longest_minutes"])
        counted = f"  {line['station']:<8} {line['turnarounds']:>11}"
        lines.append(f"{counted} {mean:>19} {longest:>9}  {line['longest_tailnum']}")
    return "\n".join([*lines, "", f"logbook checksum: {found['checksum']}"])


def hours(minutes: float) -> str:
    """Minutes as hours with one decimal."""
    return f"{minutes / 60:,.1f}"


def differences(found: Figures, expected: Figures) -> list[str]:
    """One line for each figure that is not as expected. An unknown number of refused rows is not held against it."""
    return [
        f"{name}: {found.get(name)}, expected {expected[name]}"
        for name in expected
        if found.get(name) != expected[name] and not (name == "refused" and found["refused"] is None)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Print what the flights demo came to.")
    parser.add_argument("-t", "--topology", type=Path, default=HERE.with_suffix(".yaml"), help="the topology file")
    parser.add_argument("--rejected", type=Path, default=Path("rejected.jsonl"), help="what `send` refused")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--check", action="store_true", help="exit 1 unless the figures are those of expected.json")
    options = parser.parse_args()
    try:
        found = read(options.topology, options.rejected)
    except runnelctl.RunnelctlError as error:
        print(f"report: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found, indent=2) if options.json else render(found))
    if not options.check:
        return 0
    wrong = differences(found, json.loads((HERE / "expected.json").read_text()))
    print("\n".join(wrong) if wrong else "as expected", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
