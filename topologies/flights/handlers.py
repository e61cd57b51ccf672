"""Follows every aircraft through the week: what it flew, and how long until it left New York again.

The result is wrong if the legs of one aircraft are handled out of order, twice, or not at all: each leg is measured
against the one before it, and folded into a running checksum, the `trail`. Aircraft don't touch each other, so they
may run side by side.

Times: `departed` is the scheduled moment plus `dep_delay`; `landed` is `departed` plus the minutes in the air. Taxiing
is in neither. `dep_time` and `arr_time` are clock readings without a date, the latter in a zone that the record does
not name, so they only say whether the thing happened.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import runnelctl
from runnelctl import Context, Event


@dataclass(frozen=True, slots=True)
class Leg:
    """One flight, with the two moments that the record gives only indirectly."""

    name: str  # as "B6 523 JFK-LAX"
    station: str  # as "JFK/B6"
    origin: str
    dest: str
    scheduled: str
    departed: datetime
    landed: datetime
    air_minutes: int
    miles: int


async def logbook(event: Event, ctx: Context) -> None:
    """Enter one flight in the logbook of its aircraft, which is `ctx.state`: the key of `flights` is the tail number.

    A cancelled flight is passed over. One that left but has no arrival or no air time can't be entered: ValueError.
    One that leaves before the leg before it has landed is a contradiction that trying again can't solve: Reject.
    """
    leg = leg_of(event.value)
    book = ctx.state
    away_minutes = None
    if "landed" in book:
        landed = datetime.fromisoformat(book["landed"])
        if leg.departed < landed:
            raise runnelctl.Reject(f"{leg.name} left at {leg.departed}, before {book['last']} landed at {landed}")
        away_minutes = minutes_between(landed, leg.departed)
        ctx.emit("turnarounds", turnaround_of(event.key, book, leg, away_minutes))
    enter(book, leg, away_minutes)


def stations(event: Event, ctx: Context) -> None:
    """Add one turnaround to the figures of its station. Its aircraft come from many partitions in no fixed order,
    so everything kept here is the same in any order: a count, a sum, a maximum."""
    turnaround = event.value
    minutes = turnaround["minutes"]
    landed, departed = (datetime.fromisoformat(turnaround[moment]) for moment in ("landed", "departed"))
    if minutes_between(landed, departed) != minutes:  # a schema can't compare two fields
        raise ValueError(f"{turnaround['tailnum']}: {landed} to {departed} is not {minutes} minutes")
    figures = ctx.state
    figures["turnarounds"] = figures.get("turnarounds", 0) + 1
    figures["minutes"] = figures.get("minutes", 0) + minutes
    figures["longest"] = max(figures.get("longest", [0, ""]), [minutes, turnaround["tailnum"]])


def leg_of(flight: dict[str, Any]) -> Leg:
    """The leg that a record tells of. Raises Skip if it was cancelled, ValueError if its end is missing."""
    name = f"{flight['carrier']} {flight['flight']} {flight['origin']}-{flight['dest']}"
    if flight["dep_time"] is None:
        raise runnelctl.Skip("cancelled")
    if flight["arr_time"] is None or flight["air_time"] is None:
        missing = "arrival" if flight["arr_time"] is None else "air time"
        raise ValueError(f"{name} of {flight['scheduled']} left, but has no {missing}")
    departed = datetime.fromisoformat(flight["scheduled"]) + timedelta(minutes=flight["dep_delay"])
    return Leg(
        name=name,
        station=f"{flight['origin']}/{flight['carrier']}",
        origin=flight["origin"],
        dest=flight["dest"],
        scheduled=flight["scheduled"],
        departed=departed,
        landed=departed + timedelta(minutes=flight["air_time"]),
        air_minutes=flight["air_time"],
        miles=flight["distance"],
    )


def turnaround_of(tailnum: str, book: Mapping[str, Any], leg: Leg, away_minutes: int) -> dict[str, Any]:
    """The record for the stream `turnarounds`: from the landing in the book to this departure."""
    return {
        "station": leg.station,
        "tailnum": tailnum,
        "from": book["at"],
        "landed": book["landed"],
        "departed": leg.departed.isoformat(),
        "minutes": away_minutes,
    }


def enter(book: MutableMapping[str, Any], leg: Leg, away_minutes: int | None) -> None:
    """Write the leg into the book. `away_minutes` is None for the first leg of an aircraft."""
    book["legs"] = book.get("legs", 0) + 1
    book["air_minutes"] = book.get("air_minutes", 0) + leg.air_minutes
    book["miles"] = book.get("miles", 0) + leg.miles
    if away_minutes is None:
        book["first_departed"] = leg.departed.isoformat()
        book.update(turnarounds=0, away_minutes=0, longest_away_minutes=0, switches=0)
    else:
        book["turnarounds"] += 1
        book["away_minutes"] += away_minutes
        book["longest_away_minutes"] = max(book["longest_away_minutes"], away_minutes)
        book["switches"] += leg.origin != book["home"]  # say it left from LaGuardia last time, and now from Kennedy
    book["home"], book["at"], book["last"] = leg.origin, leg.dest, leg.name
    book["departed"], book["landed"] = leg.departed.isoformat(), leg.landed.isoformat()
    # CRC-32 goes on from where it was, so this is the checksum of all lines so far, in this order.
    line = f"{leg.scheduled} {leg.name} {'-' if away_minutes is None else away_minutes}\n"
    book["trail"] = zlib.crc32(line.encode(), book.get("trail", 0))


def minutes_between(start: datetime, end: datetime) -> int:
    """Whole minutes from `start` to `end`; both carry an offset."""
    return int((end - start).total_seconds()) // 60
