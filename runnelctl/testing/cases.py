"""Cases in YAML for `runnelctl test`: a file becomes values that know where they stand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runnelctl import errors
from runnelctl.topology import reading, shape, units
from runnelctl.topology.nodes import (
    Findings,
    Mapping,
    Node,
    Place,
    Scalar,
    Sequence,
    TooManyFindings,
    beside,
    to_python,
)

SUFFIX = ".test.yaml"
FAILURES = ("ignored", "quarantined", "halted", "parked")
_FACTS = ("type", "message", "key", "attempts")
_STEPS = {
    "send": ("record", "records", "raw", "key", "headers"),
    "advance": (),
    "replay": ("key", "skip"),
}


@dataclass(frozen=True, slots=True)
class Expected:
    """A value, and where the file says it; of a list, also where each item stands."""

    place: Place
    value: Any
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: `what` is send, advance or replay, `of` its stream, milliseconds or processor."""

    place: Place
    what: str
    of: Any
    more: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One case. Expectations by what they are about: a stream, a processor, or a processor and a key."""

    name: str
    place: Place
    only: tuple[str, ...] | None
    steps: tuple[Step, ...]
    streams: dict[str, Expected]
    states: dict[tuple[str, str], Expected]
    dead_letters: dict[str, Expected]
    failures: dict[str, dict[str, Expected]] = field(default_factory=dict)  # as FAILURES has them, then by processor


@dataclass(frozen=True, slots=True)
class Cases:
    """A file of cases, and the topology file that they are about."""

    file: str
    topology: str
    cases: tuple[Case, ...]


def load(file: str | Path) -> Cases:
    """The cases in `file`. Raises TopologyError with every mistake at once, each with its place."""
    findings, name = Findings(), str(file)
    try:
        root = reading.read(name, findings, "a file of cases is a mapping (cases: ...)")
        shape.check(root, schema(), "", findings)
        made = _cases(name, root, findings)
    except reading.Unreadable:
        made = None
    except TooManyFindings:
        raise errors.TopologyError(findings.problems) from None
    if made is None or findings.problems:
        raise errors.TopologyError(sorted(findings.problems))
    return made


def schema() -> dict[str, Any]:
    """The JSON Schema of files of cases, as published in the package."""
    text = Path(__file__).with_name("cases.schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _cases(file: str, root: Mapping, findings: Findings) -> Cases:
    given = root.entries.get("topology")
    if isinstance(given, Scalar) and not given.wrong:
        topology = beside(file, given.text)
    else:
        topology = file.removesuffix(SUFFIX) + ".yaml"
        if not file.endswith(SUFFIX):
            findings.problem(root.place, f"topology is missing: only a file called *{SUFFIX} has one beside it")
    if not findings.problems and not Path(topology).is_file():
        place = given.place if given is not None else root.place
        findings.problem(place, f"there is no {topology}: topology: names the file that these cases are about")
    node = root.entries.get("cases")
    entries = node.entries.items() if isinstance(node, Mapping) and not node.wrong else ()
    return Cases(
        file, topology, tuple(_case(name, case, findings) for name, case in entries if isinstance(case, Mapping))
    )


def _case(name: str, node: Mapping, findings: Findings) -> Case:
    expect = node.entries.get("expect")
    only = node.entries.get("only")
    parts = {part: _named(expect, part) for part in ("streams", "state", "dead_letters", *FAILURES)}
    states = {
        (processor, key): Expected(value.place, to_python(value))
        for processor, keys in parts["state"].items()
        if isinstance(keys, Mapping)
        for key, value in keys.entries.items()
    }
    return Case(
        name=name,
        place=node.place,
        only=tuple(item.text for item in only.items if isinstance(item, Scalar))
        if isinstance(only, Sequence)
        else None,
        steps=tuple(_steps(node.entries.get("given"), findings)),
        streams={stream: _expected(each) for stream, each in parts["streams"].items()},
        states=states,
        dead_letters={processor: _expected(each) for processor, each in parts["dead_letters"].items()},
        failures={
            part: {processor: _failures(each, findings) for processor, each in parts[part].items()} for part in FAILURES
        },
    )


def _named(node: Node | None, part: str) -> dict[str, Node]:
    found = node.entries.get(part) if isinstance(node, Mapping) else None
    return {name: each for name, each in found.entries.items() if not each.wrong} if isinstance(found, Mapping) else {}


def _expected(node: Node) -> Expected:
    places = tuple(item.place for item in node.items) if isinstance(node, Sequence) else ()
    return Expected(node.place, to_python(node), places)


def _failures(node: Node, findings: Findings) -> Expected:
    """A list of failures, each a mapping of what is expected of its record."""
    found = []
    for item in node.items if isinstance(node, Sequence) else ():
        if isinstance(item, Scalar) and isinstance(item.value, str):
            found.append({"type": item.text})
        elif isinstance(item, Mapping) and item.entries and not set(item.entries) - set(_FACTS):
            found.append(to_python(item))
        else:
            findings.wrong(item, f"a failure is an exception's name, or a mapping with some of {', '.join(_FACTS)}")
    expected = _expected(node)
    return Expected(expected.place, found, expected.places)


def _steps(node: Node | None, findings: Findings) -> list[Step]:
    steps = []
    for item in node.items if isinstance(node, Sequence) else ():
        if not isinstance(item, Mapping) or item.wrong:
            continue
        what = [each for each in _STEPS if each in item.entries]
        if len(what) != 1:
            findings.problem(item.place, "a step has one of send, advance and replay")
            continue
        odd = [key for key in item.entries if key != what[0] and key not in _STEPS[what[0]]]
        if odd:
            findings.problem(item.key_places[odd[0]], f"{odd[0]} does not belong to {what[0]}")
            continue
        records = [key for key in ("record", "records", "raw") if key in item.entries]
        if what[0] == "send" and len(records) != 1:
            findings.problem(item.place, "send needs one of record, records and raw")
            continue
        plain = {key: to_python(value) for key, value in item.entries.items()}
        of = plain.pop(what[0])
        if what[0] == "advance" and not item.entries["advance"].wrong:
            of = units.duration_ms(str(of))
        steps.append(Step(item.place, what[0], of, plain))
    return steps
