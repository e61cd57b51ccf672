"""The demo's result, worked out twice: by the real handlers, and by expected.py in another way."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema_rs
import pytest

from tests.unit.demo.rehearsal import TOPOLOGIES, Run, rehearse

Record = dict[str, Any]


def figures(run: Run, sent: int, refused: int | None) -> dict[str, Any]:
    from flights import report

    return report.figures(run.books.items(), run.stations.items(), sent, run.dead_letters, refused)


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TOPOLOGIES / "flights" / "expected.json").read_text())
    return found


def test_the_second_computation_gives_the_committed_figures(rows: list[Record], committed: dict[str, Any]) -> None:
    from flights import expected

    assert expected.expected(rows) == committed


def test_the_handlers_give_the_committed_figures(
    week: Run, sent: list[Record], refused: list[Record], committed: dict[str, Any]
) -> None:
    assert figures(week, len(sent), len(refused)) == committed


def test_every_record_meets_the_fate_it_should(week: Run, committed: dict[str, Any]) -> None:
    assert week.outcomes == {"done": committed["legs"], "Skip": committed["cancelled"], "ValueError": 23, "Reject": 3}


def test_every_turnaround_fits_its_schema(week: Run, schemas: dict[str, Any], committed: dict[str, Any]) -> None:
    validator = jsonschema_rs.validator_for(schemas["turnaround"])
    assert all(validator.is_valid(turnaround) for turnaround in week.turnarounds)
    assert len(week.turnarounds) == committed["turnarounds"]


def test_stations_count_every_turnaround_of_the_logbook_once(week: Run) -> None:
    counted = sum(state["turnarounds"] for state in week.stations.values())
    assert counted == sum(book["turnarounds"] for book in week.books.values())
    minutes = sum(state["minutes"] for state in week.stations.values())
    assert minutes == sum(book["away_minutes"] for book in week.books.values())


def legs_of_each_aircraft(sent: list[Record]) -> list[list[Record]]:
    by_tail: dict[str, list[Record]] = {}
    for row in sent:
        if row["dep_time"] and row["arr_time"] and row["air_time"]:
            by_tail.setdefault(row["tailnum"], []).append(row)
    return [own for own in by_tail.values() if len(own) > 1]


def test_swapping_two_legs_of_any_aircraft_changes_the_result(sent: list[Record], week: Run) -> None:
    from flights import report

    several = legs_of_each_aircraft(sent)
    assert len(several) > 1000
    for own in several:
        right, swapped = rehearse(own), rehearse([own[1], own[0], *own[2:]])
        assert report.checksum(right.books) != report.checksum(swapped.books), own[0]["tailnum"]


def test_one_swap_in_the_whole_week_changes_the_checksum(sent: list[Record], committed: dict[str, Any]) -> None:
    own = legs_of_each_aircraft(sent)[0]
    here, there = sent.index(own[0]), sent.index(own[1])
    mixed = list(sent)
    mixed[here], mixed[there] = mixed[there], mixed[here]
    assert figures(rehearse(mixed), len(sent), None)["checksum"] != committed["checksum"]


@pytest.mark.parametrize("change", ["lost", "doubled"])
def test_a_leg_lost_or_doubled_changes_the_result(change: str, sent: list[Record], committed: dict[str, Any]) -> None:
    place = sent.index(legs_of_each_aircraft(sent)[7][0])
    repeats = 0 if change == "lost" else 2
    records = [*sent[:place], *sent[place : place + 1] * repeats, *sent[place + 1 :]]
    changed = figures(rehearse(records), len(sent), None)
    assert (changed["checksum"], changed["dead_letters"]) != (committed["checksum"], committed["dead_letters"])


@pytest.mark.parametrize("seed", range(3))
def test_the_order_between_aircraft_does_not_matter(
    seed: int, sent: list[Record], refused: list[Record], committed: dict[str, Any]
) -> None:
    """Any interleaving that keeps each aircraft's own order gives the same figures: what a topology may rely on."""
    chance = random.Random(seed)
    waiting: dict[str, list[Record]] = {}
    for row in reversed(sent):
        waiting.setdefault(row["tailnum"], []).append(row)
    draws = [row["tailnum"] for row in sent]
    chance.shuffle(draws)
    mixed = [waiting[tail].pop() for tail in draws]
    assert mixed != sent
    assert figures(rehearse(mixed), len(sent), len(refused)) == committed


def test_the_week_sent_twice_changes_no_logbook(sent: list[Record], week: Run, committed: dict[str, Any]) -> None:
    twice = rehearse(sent + sent)
    assert twice.books == week.books
    assert twice.dead_letters == 2 * committed["dead_letters"] + committed["legs"]


def test_a_failed_leg_leaves_the_book_as_it_was(sent: list[Record]) -> None:
    own = max(legs_of_each_aircraft(sent), key=len)
    broken = own[1] | {"air_time": None}
    assert rehearse([own[0], broken]).books == rehearse([own[0]]).books


def test_a_turnaround_whose_minutes_do_not_add_up_is_refused(week: Run) -> None:
    from flights import handlers

    from tests.unit.demo.rehearsal import FakeContext, FakeEvent

    wrong = week.turnarounds[0] | {"minutes": week.turnarounds[0]["minutes"] + 1}
    ctx = FakeContext({})
    with pytest.raises(ValueError, match="minutes"):
        handlers.stations(FakeEvent(wrong, wrong["station"]), ctx)  # type: ignore[arg-type]
    assert ctx.state == {}
