"""Holds the tree against the published JSON Schema, and says in the file's own words where it does not fit.

An interpreter for the few keywords that the schema uses, instead of `jsonschema`: it knows lines and columns, it words
its messages from each part's `title`, and it spares every command 150 ms of import. Since it reads the published file,
the two can't disagree about what is accepted; a test holds them against each other all the same.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from runnelctl.topology import unsupported, wording
from runnelctl.topology.nodes import Findings, Mapping, Node, Place, Scalar, Sequence, plain_value

Schema = dict[str, Any]

_VARIABLE = {"$ref": "#/definitions/variable"}  # for editors only: here, variables have been replaced


def text_of_schema() -> str:
    """The published JSON Schema, as it stands in the package."""
    return Path(__file__).with_name("topology.schema.json").read_text("utf-8")


@functools.cache
def published() -> Schema:
    """The published JSON Schema of topology files (draft-07)."""
    schema: Schema = json.loads(text_of_schema())
    return schema


def included() -> Schema:
    """The shape of an included file: streams, processors and tasks, nothing else."""
    properties = {key: published()["properties"][key] for key in ("streams", "processors", "tasks")}
    return {"type": "object", "additionalProperties": False, "properties": properties, "title": "a mapping"}


def check(node: Node, schema: Schema, path: str, findings: Findings, key_place: Place | None = None) -> None:
    """Report what does not fit, at and below `node`, and mark it wrong. `path` is like `streams.*.partitions`.
    What is missing from a mapping is reported at its key."""
    if node.wrong:
        return
    schema = resolved(schema)
    branch = _branch(node, schema)
    if branch is None or not _is(node, branch):
        _misfit(node, schema, path, findings)
    elif isinstance(node, Mapping):
        _mapping(node, branch, path, findings, key_place or node.place)
    elif isinstance(node, Sequence):
        for item in node.items:
            check(item, branch.get("items", {}), f"{path}.[]", findings)
    elif not _fits(node, branch):
        _misfit(node, schema, path, findings)


def resolved(schema: Schema) -> Schema:
    """The schema behind a `$ref`; as in draft-07, what stands beside the reference does not count."""
    while "$ref" in schema:
        schema = published()["definitions"][schema["$ref"].rpartition("/")[2]]
    return schema


def _branch(node: Node, schema: Schema) -> Schema | None:
    """The alternative of an anyOf that the node's type asks for, so that messages are about that one."""
    if "anyOf" not in schema:
        return schema
    branches = [resolved(branch) for branch in schema["anyOf"] if branch != _VARIABLE]
    typed = [branch for branch in branches if _is(node, branch)]
    fitting = (branch for branch in typed if not isinstance(node, Scalar) or _fits(node, branch))
    return next(fitting, typed[0] if typed else None)


def _is(node: Node, schema: Schema) -> bool:
    """Whether the node has the schema's type. An interpolated scalar may be read as text or as what it looks like."""
    wanted = schema.get("type", "string" if "enum" in schema else None)
    if wanted is None:
        return True
    if isinstance(wanted, list):
        return any(_is(node, {"type": each}) for each in wanted)
    if wanted in ("object", "array"):
        return isinstance(node, Mapping if wanted == "object" else Sequence)
    if not isinstance(node, Scalar):
        return False
    if wanted == "string":
        return node.interpolated or isinstance(node.value, str)
    value = plain_value(node.text) if node.interpolated else node.value
    if wanted == "null":
        return value is None
    return type(value) in {"boolean": (bool,), "integer": (int,), "number": (int, float)}[wanted]


def _fits(node: Node, schema: Schema) -> bool:
    assert isinstance(node, Scalar)
    if "minimum" in schema:
        value = plain_value(node.text) if node.interpolated else node.value
        assert isinstance(value, int)
        return bool(schema["minimum"] <= value <= schema["maximum"])
    if "enum" in schema:
        return bool(node.text in schema["enum"])
    if "pattern" in schema and schema.get("type") == "string":
        return re.fullmatch(schema["pattern"], node.text) is not None
    return bool(len(node.text) >= schema.get("minLength", 0))


def _misfit(node: Node, schema: Schema, path: str, findings: Findings) -> None:
    given = node.text if isinstance(node, Scalar) and isinstance(node.value, str) else getattr(node, "value", None)
    sentence = unsupported.value(path, given)
    if sentence is None:
        what, wanted = path.rpartition(".")[2], schema["title"]
        name = {"*": "this", "[]": "an item"}.get(what, what)
        choices = [word for branch in schema.get("anyOf", ()) for word in branch.get("enum", ())]
        nearest = wording.did_you_mean(given, choices) if isinstance(given, str) else ""
        sentence = f"{name} must be {wanted}, not {wording.shown(node)}{nearest or wording.hint(node, wanted)}"
    findings.wrong(node, sentence)


def _mapping(node: Mapping, schema: Schema, path: str, findings: Findings, key_place: Place) -> None:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, child in node.entries.items():
        place = node.key_places[key]
        if key in known:
            check(child, known[key], f"{path}.{key}" if path else key, findings, place)
        elif others is False:
            _unknown(key, path, list(known), place, child, findings)
        elif isinstance(others, dict):
            pattern = resolved(schema["propertyNames"])
            if re.fullmatch(pattern["pattern"], key) is None:
                findings.problem(place, f"{wording.cut(key)!r} must be {pattern['title']}")
            check(child, others, f"{path}.*", findings, place)
    for key in schema.get("required", ()):
        if key not in node.entries:
            findings.problem(key_place, f"{key} is missing: {_article(known[key])}")


def _article(schema: Schema) -> str:
    return f"it must be {resolved(schema)['title']}"


def _unknown(key: str, path: str, known: list[str], place: Place, child: Node, findings: Findings) -> None:
    child.wrong = True
    sentence = unsupported.key(path, key)
    if sentence is None and key == "<<":
        sentence = "merge keys (<<) are refused: write the values out, or use defaults:"
    if sentence is None:
        near = wording.did_you_mean(key, known)
        sentence = f"unknown key {wording.cut(key)!r}{near or ' (known here: ' + ', '.join(known) + ')'}"
    findings.problem(place, sentence)
