"""What `check` says of records: whether classes, codecs and the like can be imported, and whether they go together."""

from __future__ import annotations

from collections.abc import Iterator

from runnelctl import errors, topology
from runnelctl.cli import import_trial
from runnelctl.core.model import Stream, Topology
from runnelctl.records import flat
from runnelctl.topology import ImportPlace, contradictions

Problems = list[errors.Problem]


def tried(examined: topology.Examined) -> tuple[Problems, Problems]:
    """(what is wrong, what is odd)."""
    problems: Problems = []
    doubts: Problems = []
    if not examined.imports:
        return problems, doubts
    answers = import_trial.answers(examined.imports, examined.pythonpath)
    for place, answer in zip(examined.imports, answers, strict=True):
        if answer["message"] is not None:
            problems.append(_at(place, answer["message"]))
        elif "schema" in answer and examined.topology is not None:
            stream = examined.topology.streams[place.stream]
            problems += [_at(place, f"record {place.name}: {each}") for each in _against(stream, answer["schema"])]
            doubts += [_at(place, each) for each in _matches(examined.topology, stream, answer["schema"])]
    return problems, doubts


def _at(place: ImportPlace, message: str) -> errors.Problem:
    return errors.Problem(place.place.file, place.place.line, place.place.column, message)


def _against(stream: Stream, exported: dict[str, object]) -> Iterator[str]:
    """Where the class does not go with what else is said of the stream."""
    yield from contradictions.of_class(stream.schema, exported)
    properties = exported.get("properties")
    if stream.key is not None and isinstance(properties, dict) and stream.key.partition(".")[0] not in properties:
        yield f"the class has no field {stream.key.partition('.')[0]!r}, which is the key of the stream"
    if stream.codec == "fields":
        yield from (f"codec fields: {misfit}" for misfit in flat.misfits(exported, stream.key))


def _matches(of: Topology, stream: Stream, exported: dict[str, object]) -> Iterator[str]:
    """Conditions that no record of the class meets, where the stream has no schema to tell it."""
    for processor in of.processors.values():
        if processor.stream == stream.name and stream.schema is None:
            for _, sentence in contradictions.of_match(processor.match, exported):
                yield f"processor {processor.name}: {sentence.replace('the schema', 'the class')}"
