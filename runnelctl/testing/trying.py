"""Runs cases in a `Harness` and says where what came of them is not what was expected."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runnelctl import errors
from runnelctl.testing.cases import FAILURES, Case, Cases, Expected, Step
from runnelctl.testing.clock import Stuck
from runnelctl.testing.harness import Harness

_STATES = {"quarantined": "is quarantined", "halted": "is halted", "parked": "has parked a key", "ignored": "gave up"}


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one case; without problems it went well."""

    case: Case
    problems: tuple[errors.Problem, ...]


def tried(cases: Cases, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Tried]:
    """Try the cases that are wanted, one after the other. Raises HandlerError for a handler that can't start."""
    for case in cases.cases:
        if wanted(case.name):
            yield Tried(case, tuple(_try(cases, case)))


def _try(cases: Cases, case: Case) -> Iterator[errors.Problem]:
    place = case.place
    try:
        with Harness(cases.topology, only=case.only) as harness:
            harness.run()
            for step in case.steps:
                place = step.place
                _take(harness, step)
            yield from _compared(harness, case)
    except (Stuck, errors.RecordError, errors.UsageError) as error:
        yield errors.Problem(place.file, place.line, place.column, str(error))


def _take(harness: Harness, step: Step) -> None:
    more = step.more
    match step.what:
        case "advance":
            harness.advance(step.of / 1000)
        case "replay":
            harness.replay(step.of, key=more.get("key"), skip=bool(more.get("skip")))
        case _:
            key, headers = more.get("key"), more.get("headers")
            if "raw" in more:
                harness.send_raw(step.of, more["raw"].encode(), key or "", headers)
            for record in [more["record"]] if "record" in more else more.get("records", ()):
                harness.send(step.of, record, key, headers)
    harness.run()


def _compared(harness: Harness, case: Case) -> Iterator[errors.Problem]:
    for stream, expected in case.streams.items():
        found = [harness.plain(event) for event in harness.events(stream)]
        yield from _records(f"stream {stream}", expected, found)
    for (processor, key), expected in case.states.items():
        state = harness.state(processor, key)
        if state != expected.value:
            what = f"state of {key!r} in {processor}"
            yield _problem(expected.place, f"{what}: expected {_json(expected.value)}, got {_json(state)}")
    for processor, expected in case.dead_letters.items():
        letters = [harness.plain(event) for event in harness.dead_letters(processor)]
        yield from _records(f"dead letters of {processor}", expected, letters)
    yield from _failures(harness, case)


def _records(what: str, expected: Expected, found: list[Any]) -> Iterator[errors.Problem]:
    if found == expected.value:
        return
    first = next(
        (at for at, pair in enumerate(zip(expected.value, found, strict=False)) if pair[0] != pair[1]),
        min(len(expected.value), len(found)),
    )
    place = expected.places[first] if first < len(expected.places) else expected.place
    wanted, got = [_json(each) for each in expected.value], [_json(each) for each in found]
    diff = "".join(f"\n    {line.rstrip()}" for line in difflib.ndiff(wanted, got) if not line.startswith("?"))
    yield _problem(place, f"{what}: {len(wanted)} expected (-), {len(got)} found (+){diff}")


def _failures(harness: Harness, case: Case) -> Iterator[errors.Problem]:
    """What failed against what was expected to, and nothing else."""
    for processor in harness.processors:
        found = _found(harness, processor)
        for part in FAILURES:
            expected = case.failures[part].get(processor)
            if expected is not None:
                yield from _matched(f"{part} of {processor}", expected, found[part])
            elif found[part] and not (part == "ignored" and processor in case.dead_letters):
                yield _problem(
                    case.place, f"{processor} {_STATES[part]}, which is not expected: {_told(found[part][0])}"
                )
    for part in FAILURES:
        for processor in set(case.failures[part]) - set(harness.processors):
            expected = case.failures[part][processor]
            yield _problem(
                expected.place, f"there is no processor {processor!r} (there: {', '.join(harness.processors)})"
            )


def _found(harness: Harness, processor: str) -> dict[str, list[dict[str, Any]]]:
    blocked = list(harness.blocked(processor).values())
    return {
        "ignored": harness.ignored(processor),
        "quarantined": [record for record in blocked if record["state"] == "quarantined"],
        "halted": [record for record in blocked if record["state"] == "halted"],
        "parked": list(harness.parked(processor).values()),
    }


def _matched(what: str, expected: Expected, found: Sequence[Mapping[str, Any]]) -> Iterator[errors.Problem]:
    if len(found) != len(expected.value):
        told = "".join(f"\n    {_told(each)}" for each in found)
        yield _problem(expected.place, f"{what}: {len(expected.value)} expected, {len(found)} found{told}")
        return
    for wanted, got, place in zip(expected.value, found, expected.places, strict=True):
        off = [name for name, value in wanted.items() if not _fits(name, value, got[name])]
        if off:
            yield _problem(place, f"{what}: {off[0]} {_json(wanted[off[0]])} expected, got {_told(got)}")


def _fits(name: str, wanted: Any, got: Any) -> bool:
    if name == "message":
        return str(wanted) in str(got)
    if name == "type":
        return wanted in (got, str(got).rpartition(".")[2])
    return bool(wanted == got)


def _told(record: Mapping[str, Any]) -> str:
    """A failure in a line, and the end of its traceback below."""
    head = f"{record['type']}: {record['message']} (key {record['key']!r}, {record['attempts']} attempt(s))"
    frames = [line for line in str(record["traceback"]).splitlines() if line.lstrip().startswith("File ")]
    return f"{head}\n     {frames[-1].strip()}" if frames else head


def _problem(place: Any, message: str) -> errors.Problem:
    return errors.Problem(place.file, place.line, place.column, message)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def beside(file: Path) -> Path:
    """The file of cases that belongs to a topology file; the file itself if it is one of cases."""
    from runnelctl.testing.cases import SUFFIX

    return file if file.name.endswith(SUFFIX) else file.with_name(file.name.removesuffix(".yaml") + SUFFIX)
