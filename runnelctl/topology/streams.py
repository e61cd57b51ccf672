"""From a stream's section to a Stream, and what `check` has to import to see whether it works."""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass

from runnelctl.core import model
from runnelctl.topology import schemas
from runnelctl.topology.nodes import Findings, Mapping, Node, Place, Scalar, Sequence
from runnelctl.topology.section import Section
from runnelctl.topology.wording import did_you_mean

_PARTITIONERS = tuple(each.value for each in model.Partitioner)


@dataclass(frozen=True, slots=True)
class ImportPlace:
    """Where the file names something that is imported: a `record`, `codec`, `compression`, `partitioner` of a stream,
    or a module that `discover` found (then `stream` is empty)."""

    kind: str
    name: str
    place: Place
    stream: str = ""


def stream(name: str, section: Section, pythonpath: tuple[str, ...], findings: Findings) -> model.Stream:
    """The stream of a section; worth something only if `findings` holds no problem."""
    node = section.node("schema")
    schema, source = schemas.read(node, findings) if node is not None else (None, None)
    validate = section.scalar("validate")
    if validate is not None and validate.text != "never" and not (section.has("schema") or section.has("record")):
        findings.warning(
            validate.place, f"validate: {validate.text} has nothing to check: stream {name!r} has no schema"
        )
    names_own = [section.text(key) or "" for key in ("record", "codec", "compression", "partitioner")]
    built = model.Stream(
        name=name,
        partitions=section.integer("partitions") or 1,
        key=section.text("key"),
        schema=schema,
        schema_source=source,
        record=section.text("record"),
        codec=_own(section, "codec", model.CODECS, findings),
        compression=_own(section, "compression", model.COMPRESSIONS, findings),
        pythonpath=pythonpath if any(":" in each for each in names_own) else (),
        partitioner=_partitioner(section, findings),
        capacity=section.integer("capacity") or 5_000_000,
        validate=section.choice("validate", model.Validate, model.Validate.SEND),
        retention=_retention(section.section("retention")) if section.has("retention") else None,
    )
    if built.codec == "fields":
        _check_flat(built, section, findings)
    return built


def _own(section: Section, key: str, built_in: tuple[str, ...], findings: Findings) -> str:
    """The value of `codec`, `compression` or `partitioner`: a word of ours, module:attribute, or what is installed."""
    scalar = section.scalar(key)
    if scalar is None:
        return built_in[0]
    if scalar.text not in built_in and ":" not in scalar.text:
        from runnelctl.records import imported  # only here: it looks through all installed packages

        installed = imported.names(key)
        if scalar.text not in installed:
            words = (*built_in, *installed)
            near = did_you_mean(scalar.text, words)
            listed = f"{', '.join(words[:-1])} or {words[-1]}"
            findings.wrong(scalar, f"{key} must be {listed}, or module:attribute, not {scalar.text!r}{near}")
            return built_in[0]
    return scalar.text


def _partitioner(section: Section, findings: Findings) -> model.Partitioner | model.Ring | model.Imported:
    node = section.node("partitioner")
    if isinstance(node, Mapping):
        if not node.entries:
            findings.wrong(node, "partitioner is empty: write ring, or {ring: {vnodes: 160}}")
        return _ring(section.section("partitioner").section("ring"), section, findings)
    text = _own(section, "partitioner", _PARTITIONERS, findings)
    return model.Partitioner(text) if text in _PARTITIONERS else model.Imported(text)


def _ring(options: Section, section: Section, findings: Findings) -> model.Partitioner | model.Ring:
    node = options.node("nodes")
    nodes = None
    if isinstance(node, Sequence) and not any(item.wrong for item in node.items):
        nodes = tuple(item.text for item in node.items if isinstance(item, Scalar))
        partitions = section.integer("partitions") or len(nodes)
        if not nodes:
            findings.wrong(node, "a ring with no nodes: name one for each partition, or leave nodes out")
        elif len(set(nodes)) < len(nodes):
            twice = next(each for each in nodes if nodes.count(each) > 1)
            findings.wrong(node, f"node {twice!r} is on the ring twice")
        elif len(nodes) != partitions:
            findings.wrong(
                node, f"the ring has {len(nodes)} nodes and the stream {partitions} partition(s): one for each"
            )
    made = model.Ring(vnodes=options.integer("vnodes") or model.Ring().vnodes, nodes=nodes)
    return model.Partitioner.RING if made == model.Ring() else made


def _check_flat(built: model.Stream, section: Section, findings: Findings) -> None:
    codec, compression, key = section.scalar("codec"), section.scalar("compression"), section.scalar("key")
    if compression is not None and built.compression != "none":
        findings.wrong(
            compression, f"compression: {built.compression} has nothing to compress: codec fields stores plain fields"
        )
    if key is not None and "." in key.text:
        findings.wrong(key, f"codec fields stores flat records, and {key.text} is inside of something")
    if built.schema is not None and codec is not None:
        from runnelctl.records import flat

        for misfit in flat.misfits(built.schema, built.key):
            findings.problem(codec.place, f"codec fields and the schema: {misfit}")


def _retention(section: Section) -> model.Retention:
    age_ms = section.duration_ms("age", 0) if section.has("age") else None
    if section.mappings and not section.mappings[0].entries:
        section.findings.problem(section.mappings[0].place, "retention keeps everything: it needs events, age or both")
    return model.Retention(events=section.integer("events"), age_ms=age_ms)


def dead_letters_of(source: model.Stream, name: str) -> model.Stream:
    """The stream that `dead_letter: true` adds: as many partitions and stored alike, but nothing is checked. Its key is
    in the entries."""
    flat_key = source.key if source.codec == "fields" and source.key == "key" else None
    return model.Stream(
        name=name, partitions=source.partitions, validate=model.Validate.NEVER, key=flat_key,
        codec=source.codec, compression=source.compression, pythonpath=source.pythonpath,
    )  # fmt: skip


def stored_alike(one: model.Stream, other: model.Stream) -> bool:
    """Whether entries of one are entries of the other: where an entry tells whether it is compressed, that is free."""
    if one.codec != other.codec:
        return False
    return (one.tells_compression and other.tells_compression) or one.compression == other.compression


def import_places(nodes: Several[tuple[str, Node]]) -> list[ImportPlace]:
    """What the streams name that has to be imported, or needs a package that may not be there."""
    found = []
    for name, node in nodes:
        for kind, built_in in (
            ("record", ()),
            ("codec", model.CODECS),
            ("compression", ("none", "gzip")),
            ("partitioner", _PARTITIONERS),
        ):
            scalar = node.entries.get(kind) if isinstance(node, Mapping) else None
            if isinstance(scalar, Scalar) and not scalar.wrong and scalar.text not in built_in:
                found.append(ImportPlace(kind, scalar.text, scalar.place, name))
    return found
