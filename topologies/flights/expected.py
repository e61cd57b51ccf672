"""What the demo has to come to, worked out a second time and in another way; prints `expected.json`.

    python topologies/flights/expected.py > topologies/flights/expected.json

Nothing here is shared with handlers.py. That one takes an event at a time and knows only what it remembered; this one
has the whole file, gathers the rows of each aircraft in the file's order, and looks at them side by side. Moments are
read off the clock (`dep_time`, with its roll-over past midnight), not from `dep_delay`, and checksums are taken of
whole texts.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

WEEK = Path(__file__).with_name("week.jsonl")
TAIL_NUMBER = re.compile(r"N[0-9A-Z]{2,5}")
DAY = 24 * 60

Row = dict[str, Any]


@dataclass
class Aircraft:
    """The rows that count as legs, and for each the minutes since the landing before it (None for the first)."""

    legs: list[tuple[Row, int | None]] = field(default_factory=list)

    @property
    def gaps(self) -> list[int]:
        return [gap for _, gap in self.legs if gap is not None]

    @property
    def trail(self) -> int:
        return zlib.crc32("".join(_line(row, gap) for row, gap in self.legs).encode())


def rows_of(path: Path) -> list[Row]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def off_the_ground(row: Row) -> int:
    """Minutes from 1 January 2013 to the departure: the first time, from an hour before the scheduled one on, that
    the clock showed `dep_time`. New York's clock isn't put forward or back in that week."""
    scheduled = datetime.fromisoformat(row["scheduled"]).replace(tzinfo=None)
    earliest = round((scheduled - datetime(2013, 1, 1)).total_seconds() / 60) - 60
    hours, minutes = divmod(row["dep_time"], 100)
    moment: int = earliest + (hours * 60 + minutes - earliest) % DAY
    return moment


def follow(rows: list[Row]) -> tuple[Aircraft, Counter[str]]:
    """One aircraft's rows in order: the legs that hold, and how many were cancelled, incomplete or contradictory."""
    aircraft, oddities = Aircraft(), Counter[str]()
    down: int | None = None
    for row in rows:
        if not row["dep_time"]:
            oddities["cancelled"] += 1
        elif not (row["arr_time"] and row["air_time"]):
            oddities["incomplete"] += 1
        elif down is not None and off_the_ground(row) < down:
            oddities["contradictory"] += 1
        else:
            up = off_the_ground(row)
            aircraft.legs.append((row, None if down is None else up - down))
            down = up + row["air_time"]
    return aircraft, oddities


def expected(rows: list[Row]) -> dict[str, Any]:
    """The figures that report.py prints, for these rows sent once and in this order to an empty topology."""
    by_tail: dict[str, list[Row]] = {}
    refused = 0
    for row in rows:
        if row["tailnum"] is None or not TAIL_NUMBER.fullmatch(row["tailnum"]):
            refused += 1
        else:
            by_tail.setdefault(row["tailnum"], []).append(row)
    oddities: Counter[str] = Counter()
    fleet: dict[str, Aircraft] = {}
    for tail, own in by_tail.items():
        aircraft, odd = follow(own)
        oddities.update(odd)
        if aircraft.legs:
            fleet[tail] = aircraft
    return {
        "sent": len(rows) - refused,
        "refused": refused,
        "cancelled": oddities["cancelled"],
        "dead_letters": oddities["incomplete"] + oddities["contradictory"],
        **_totals(fleet),
        "busiest": _busiest(fleet),
        "stations": _stations(fleet),
        "checksum": _checksum(fleet),
    }


def _totals(fleet: dict[str, Aircraft]) -> dict[str, Any]:
    flown = [row for aircraft in fleet.values() for row, _ in aircraft.legs]
    gaps = [(gap, tail) for tail, aircraft in fleet.items() for gap in aircraft.gaps]
    pairs = [
        (before, after)
        for aircraft in fleet.values()
        for (before, _), (after, _) in zip(aircraft.legs, aircraft.legs[1:], strict=False)
    ]
    return {
        "aircraft": len(fleet),
        "legs": len(flown),
        "air_minutes": sum(row["air_time"] for row in flown),
        "miles": sum(row["distance"] for row in flown),
        "turnarounds": len(gaps),
        "away_minutes": sum(gap for gap, _ in gaps),
        "longest_away_minutes": max(gaps, default=(0, ""))[0],
        "switches": sum(before["origin"] != after["origin"] for before, after in pairs),
    }


def _busiest(fleet: dict[str, Aircraft]) -> list[dict[str, Any]]:
    """Five aircraft: most legs, then most minutes in the air, then by tail number."""
    lines: list[dict[str, Any]] = []
    for tail, aircraft in fleet.items():
        minutes = sum(row["air_time"] for row, _ in aircraft.legs)
        miles = sum(row["distance"] for row, _ in aircraft.legs)
        lines.append({"tailnum": tail, "legs": len(aircraft.legs), "air_minutes": minutes, "miles": miles})
    return sorted(lines, key=lambda line: (-line["legs"], -line["air_minutes"], line["tailnum"]))[:5]


def _stations(fleet: dict[str, Aircraft]) -> list[dict[str, Any]]:
    """Five stations: most turnarounds, then by name."""
    gaps: dict[str, list[tuple[int, str]]] = {}
    for tail, aircraft in fleet.items():
        for row, gap in aircraft.legs:
            if gap is not None:
                gaps.setdefault(f"{row['origin']}/{row['carrier']}", []).append((gap, tail))
    lines: list[dict[str, Any]] = []
    for station, own in gaps.items():
        longest = max(own)
        total = sum(gap for gap, _ in own)
        line = {"station": station, "turnarounds": len(own), "minutes": total}
        lines.append({**line, "longest_minutes": longest[0], "longest_tailnum": longest[1]})
    return sorted(lines, key=lambda line: (-line["turnarounds"], line["station"]))[:5]


def _checksum(fleet: dict[str, Aircraft]) -> str:
    text = "".join(f"{tail} {fleet[tail].trail:08x}\n" for tail in sorted(fleet))
    return f"{zlib.crc32(text.encode()):08x}"


def _line(row: Row, gap: int | None) -> str:
    name = f"{row['carrier']} {row['flight']} {row['origin']}-{row['dest']}"
    return f"{row['scheduled']} {name} {'-' if gap is None else gap}\n"


if __name__ == "__main__":
    print(json.dumps(expected(rows_of(WEEK)), indent=2))
