"""Where a record class and a stream's schema, or a `match` and either, can't both be meant. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runnelctl.core import matching
from runnelctl.core.model import Match
from runnelctl.topology.wording import cut, did_you_mean

_DEEPEST = 32
_NESTED = ("properties", "items")

Schema = Any
Node = tuple[Any, Mapping[str, Any]]  # a part of a schema, and its root, where references begin


def of_class(schema: Schema, exported: Schema) -> list[str]:
    """Why records that fit the schema would not fit the class whose schema is `exported`, or the other way round, a
    sentence each."""
    if not isinstance(schema, dict):
        return []
    return list(_differences((schema, schema), (exported, exported), "", 0))


def _differences(schema: Node, exported: Node, path: str, depth: int) -> Iterator[str]:
    here, there = _object(schema), _object(exported)
    ours, theirs = here[0].get("properties"), there[0].get("properties")
    if not isinstance(ours, dict) or not isinstance(theirs, dict) or depth > _DEEPEST:
        return
    needed, wanted = _required(here[0]), _required(there[0])
    for name in theirs:
        full = f"{path}{name}"
        if name not in ours and name in wanted:
            yield f"{full} is required by the class, and the schema does not have it{did_you_mean(name, ours)}"
        elif name in wanted and name not in needed:
            yield f"{full} is required by the class, and a record may lack it by the schema"
    for name in ours:
        full = f"{path}{name}"
        if name in theirs:
            yield from _of_field((ours[name], here[1]), (theirs[name], there[1]), full, depth)
        elif name in needed or there[0].get("additionalProperties") is False:
            why = "is required by the schema" if name in needed else "may be there by the schema"
            yield f"{full} {why}, and the class does not have it{did_you_mean(name, theirs)}"


def _of_field(schema: Node, exported: Node, path: str, depth: int) -> Iterator[str]:
    given, taken = _types(schema), _types(exported)
    if given and taken:
        taken |= {"integer"} if "number" in taken else set()
        extra = given - taken
        if extra == {"number"} and "integer" in taken:
            yield f"{path} may have a fraction by the schema, and is an integer in the class"
        elif extra == {"null"}:
            yield f"{path} may be null by the schema, and not in the class"
        elif extra:
            yield f"{path} is {_words(given)} by the schema, and {_words(taken)} in the class"
    yield from _differences(schema, exported, f"{path}.", depth + 1)
    here, there = _object(schema)[0].get("items"), _object(exported)[0].get("items")
    if isinstance(here, dict) and isinstance(there, dict) and depth < _DEEPEST:
        yield from _of_field((here, schema[1]), (there, exported[1]), f"{path}[]", depth + 1)


def _words(types: set[str]) -> str:
    return " or ".join(sorted(types))


def _required(part: Mapping[str, Any]) -> set[str]:
    return {name for name in part.get("required", ()) if isinstance(name, str)}


def _object(node: Node) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The part behind a reference, or in the one branch of an anyOf that has properties or items."""
    part, root = node
    for _ in range(_DEEPEST):
        if not isinstance(part, dict):
            return {}, root
        if isinstance(part.get("$ref"), str):
            part = _target(part["$ref"], root)
            continue
        nested = [each for each in part.get("anyOf", ()) if isinstance(each, dict) and each.get("type") != "null"]
        if len(nested) != 1 or any(key in part for key in _NESTED):
            return part, root
        part = nested[0]
    return {}, root


def _types(node: Node, depth: int = 0) -> set[str]:
    """What a value may be by a part of a schema; empty if that can't be told."""
    part, root = node
    if not isinstance(part, dict) or depth > _DEEPEST:
        return set()
    if isinstance(part.get("$ref"), str):
        return _types((_target(part["$ref"], root), root), depth + 1)
    if "anyOf" in part or "oneOf" in part:
        branches = [_types((each, root), depth + 1) for each in part.get("anyOf") or part.get("oneOf") or ()]
        return set().union(*branches) if all(branches) else set()
    given = part.get("type")
    if isinstance(given, str | list):
        return {given} if isinstance(given, str) else {each for each in given if isinstance(each, str)}
    values = part.get("enum", [part["const"]] if "const" in part else [])
    return {_TYPES.get(type(value), "object") for value in values}


_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", list: "array"}


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    node: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return node


def of_match(match: Match, schema: Schema) -> list[tuple[str, str]]:
    """(the condition's name, a sentence) for what a match asks and no record of the schema has."""
    found = []
    for name, values in match:
        if name.startswith(matching.HEADER) or not isinstance(schema, dict):
            continue
        node: Node = (schema, schema)
        walked: list[str] = []
        for step in name.split("."):
            part, root = _object(node)
            properties = part.get("properties")
            if not isinstance(properties, dict):
                break
            if step not in properties:
                where = f" in {'.'.join(walked)}" if walked else ""
                found.append((name, f"match: the schema has no field {step!r}{where}{did_you_mean(step, properties)}"))
                break
            walked.append(step)
            node = (properties[step], root)
        else:
            found += [(name, sentence) for value in values if (sentence := _never(name, value, node))]
    return found


def _never(name: str, value: Any, node: Node) -> str | None:
    part, _ = _object(node)
    allowed = part.get("enum", [part["const"]] if "const" in part else None)
    if allowed is not None and not any(
        value == each and isinstance(value, bool) == isinstance(each, bool) for each in allowed
    ):
        near = did_you_mean(str(value), [each for each in allowed if isinstance(each, str)])
        return f"match: {name} is never {cut(repr(value))} by the schema{near}"
    types = _types(node)
    kind = _TYPES.get(type(value), "object")
    if types and kind not in types and not (kind in ("integer", "number") and types & {"integer", "number"}):
        return f"match: {name} is {_words(types)} by the schema, and never {cut(repr(value))}"
    return None
