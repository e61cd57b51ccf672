"""Reads the JSON Schemas of streams and makes sure that they are ones, before the first record meets them.

`jsonschema_rs` decides, since it is what records are held against; `jsonschema` is imported only to word a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runnelctl.topology.nodes import Findings, Mapping, Node, Scalar, Sequence, beside, contains_wrong, to_python
from runnelctl.topology.wording import cut, did_you_mean

JsonSchema = dict[str, Any] | bool

MAX_BYTES = 4 << 20
MAX_DEPTH = 128
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_DATA = ("const", "enum", "default", "examples", "example")  # what stands below these is data, not schema


class NotASchema(ValueError):
    """The text is no JSON Schema; the message says why, `path` where inside it."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


def read(node: Node, findings: Findings) -> tuple[JsonSchema | None, str | None]:
    """The schema that a stream's `schema:` gives, and the file that it came from (None for an inline one).
    Mistakes go to `findings`, and None comes back."""
    try:
        if isinstance(node, Mapping):
            schema = to_python(node)
            if not contains_wrong(node):
                check(schema)
            return schema, None
        assert isinstance(node, Scalar)
        path = beside(node.place.file, node.text)
        return _from_file(path, node.text), path
    except NotASchema as error:
        at = _node_at(node, error.path)
        findings.wrong(at if at is not None else node, str(error))
        return None, None


def _from_file(path: str, given: str) -> JsonSchema:
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotASchema(f"no such schema file: {given} (looked for {path})") from None
    except (OSError, ValueError) as error:
        raise NotASchema(f"schema {given} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise NotASchema(f"schema {given} is over {MAX_BYTES >> 20} MiB")
    try:
        schema: JsonSchema = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (UnicodeDecodeError, RecursionError) as error:
        raise NotASchema(
            f"schema {given} is not JSON: {'nested too deep' if isinstance(error, RecursionError) else 'not UTF-8'}"
        ) from None
    except ValueError as error:
        raise NotASchema(f"schema {given} is not JSON: {error}") from None
    try:
        check(schema)
    except NotASchema as error:
        raise NotASchema(f"schema {given}{_dotted(error.path)}: {error}") from None
    return schema


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _dotted(path: tuple[str | int, ...]) -> str:
    return f" at {'.'.join(map(str, path))}" if path else ""


def check(schema: JsonSchema) -> None:
    """Raises NotASchema unless `schema` is a valid JSON Schema (draft 2020-12 if it does not say) that needs nothing
    from elsewhere."""
    if not isinstance(schema, (dict, bool)):
        raise NotASchema("a JSON Schema is an object (or true or false)")
    for path, keyword, target in _references(schema):
        if not target.startswith("#"):
            raise NotASchema(
                f"{keyword} to {cut(target)!r} is refused: only references inside the schema (#/...)", path
            )
    if isinstance(schema, dict) and "$schema" in schema:
        _known_draft(schema["$schema"])
    _compiled(schema)


def _references(schema: Any) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Every reference in the schema, with its path. Iterative; refuses depths that compilers might not
    survive."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), schema)]
    while pending:
        path, part = pending.pop()
        if len(path) > MAX_DEPTH:
            raise NotASchema(f"nested more than {MAX_DEPTH} deep")
        if isinstance(part, list):
            pending.extend(((*path, index), item) for index, item in enumerate(part))
        elif isinstance(part, dict):
            named = bool(path) and path[-1] in (
                "properties",
                "patternProperties",
                "$defs",
                "definitions",
                "dependentSchemas",
            )
            for key, value in part.items():
                if key in _REFERENCES and isinstance(value, str):
                    yield (*path, key), key, value
                elif named or key not in _DATA:
                    pending.append(((*path, key), value))


def _known_draft(uri: Any) -> None:
    if not isinstance(uri, str):
        raise NotASchema("$schema must be the URI of a draft, in text", ("$schema",))
    known = {
        f"http{s}://json-schema.org/{draft}/schema{end}"
        for s in ("", "s")
        for draft in ("draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12")
        for end in ("", "#")
    }
    if uri not in known:
        raise NotASchema(f"unknown $schema {cut(uri)!r}{did_you_mean(uri, known)}", ("$schema",))


def _compiled(schema: JsonSchema) -> None:
    import jsonschema_rs  # 75 ms, only where there is a schema

    try:
        jsonschema_rs.validator_for(schema, retriever=_no_retrieval)
    except (ValueError, TypeError, OverflowError, jsonschema_rs.ReferencingError) as error:
        path = tuple(getattr(error, "instance_path", None) or ())
        message = str(getattr(error, "message", None) or error).splitlines()[0]
        raise _worded(schema) or NotASchema(f"not a JSON Schema: {message}", path) from None


def _no_retrieval(uri: str) -> Any:
    raise ValueError(f"{uri} is not fetched")


def _worded(schema: JsonSchema) -> NotASchema | None:
    """What `jsonschema` has to say against the schema, which is more to the point; None if it sees nothing wrong."""
    from jsonschema import exceptions, validators

    validator = validators.validator_for(schema, default=validators.validator_for({}))
    try:
        error = exceptions.best_match(validator(validator.META_SCHEMA).iter_errors(schema))
    except (ValueError, TypeError, RecursionError):
        return None
    if error is None:
        return None
    return NotASchema(f"not a JSON Schema: {cut(error.message)}", tuple(error.absolute_path))


def _node_at(node: Node | None, path: tuple[str | int, ...]) -> Node | None:
    """The node of an inline schema that a path inside it leads to, or the nearest above it."""
    for step in path:
        below: Node | None = None
        if isinstance(node, Mapping):
            below = node.entries.get(str(step))
        elif isinstance(node, Sequence) and isinstance(step, int):
            below = node.items[step] if step < len(node.items) else None
        if below is None:
            break
        node = below
    return node
