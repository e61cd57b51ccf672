"""`dead_letter` of processors: the streams that it adds, and what can be wrong with the one that it names."""

from __future__ import annotations

from collections.abc import Mapping as Dict

from runnelctl.core import model
from runnelctl.topology import streams as building_streams
from runnelctl.topology.nodes import Findings, Scalar
from runnelctl.topology.section import Section
from runnelctl.topology.wording import did_you_mean

_LONGEST_NAME = 64


def added_streams(nodes: list[tuple[str, Section]], declared: Dict[str, model.Stream]) -> dict[str, model.Stream]:
    """The streams that `dead_letter: true` adds. One may be read by a processor that dead-letters in turn, hence the
    rounds."""
    added: dict[str, model.Stream] = {}
    for _ in nodes:
        before = len(added)
        for _, section in nodes:
            stream = section.text("stream") or ""
            source = declared.get(stream) or added.get(stream)
            name = f"{stream}.dead"
            if source and _wants_own_dead_letter(section) and name not in declared and len(name) <= _LONGEST_NAME:
                added[name] = building_streams.dead_letters_of(source, name)
        if len(added) == before:
            break
    return added


def _wants_own_dead_letter(section: Section) -> bool:
    scalar = section.scalar("dead_letter")
    return scalar is not None and _is_flag(scalar) and scalar.text.lower() == "true"


def _is_flag(scalar: Scalar) -> bool:
    return isinstance(scalar.value, bool)


def named(section: Section, streams: Dict[str, model.Stream], findings: Findings) -> str | None:
    scalar = section.scalar("dead_letter")
    if scalar is None or (_is_flag(scalar) and not _wants_own_dead_letter(section)):
        return None
    stream = section.text("stream") or ""
    name = f"{stream}.dead" if _is_flag(scalar) else scalar.text
    if name == stream:
        findings.wrong(
            scalar, f"dead_letter is {name!r}, the stream that it reads: its events would come round for ever"
        )
    elif _is_flag(scalar) and len(name) > _LONGEST_NAME:
        findings.wrong(
            scalar, f"dead_letter: {name!r} is over {_LONGEST_NAME} characters; declare a stream and name it here"
        )
    elif name not in streams and not _is_flag(scalar):
        near = did_you_mean(name, streams) or listed(streams)
        findings.wrong(scalar, f"dead_letter stream {name!r} is not declared{near}")
    elif name in streams and stream in streams and not building_streams.stored_alike(streams[stream], streams[name]):
        here = _stored(streams[stream])
        findings.wrong(scalar, f"dead letters are stored as they were sent: give stream {name!r} {here} as well")
    return name


def _stored(stream: model.Stream) -> str:
    compression = "" if stream.compression == "none" else f" and compression: {stream.compression}"
    return f"codec: {stream.codec}{compression}"


def listed(streams: Dict[str, model.Stream]) -> str:
    return f" (declared: {', '.join(list(streams)[:10])})" if streams else " (no stream is)"
