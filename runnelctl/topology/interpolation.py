"""`${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` in string values, as docker compose spells them.

What a variable holds is never expanded again. A variable that is not set is a mistake here, not an empty text: an
empty Redis URL or partition count is never what was meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Environment

from runnelctl.topology.nodes import Findings, Mapping, Node, Scalar, Sequence, plain_value

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST = 8  # defaults inside defaults


class Refused(ValueError):
    """The text can't be interpolated; the message says why."""


def apply(root: Mapping, environ: Environment[str, str], findings: Findings) -> None:
    """Replace the variables in every string value below `root`, except in keys and inside inline schemas."""
    streams = root.entries.get("streams")
    inline_schemas = {
        id(stream.entries["schema"])
        for stream in (streams.entries.values() if isinstance(streams, Mapping) else ())
        if isinstance(stream, Mapping) and isinstance(stream.entries.get("schema"), (Mapping, Sequence))
    }
    pending: list[Node] = [root]
    while pending:
        node = pending.pop()
        if id(node) in inline_schemas or node.wrong or node.origin:
            continue
        if isinstance(node, Mapping):
            pending.extend(node.entries.values())
        elif isinstance(node, Sequence):
            pending.extend(node.items)
        elif isinstance(node, Scalar) and "$" in node.text:
            _replace(node, environ, findings)


def _replace(node: Scalar, environ: Environment[str, str], findings: Findings) -> None:
    try:
        text = expand(node.text, environ)
    except Refused as error:
        findings.wrong(node, str(error))
        return
    node.interpolated = "${" in node.text.replace("$$", "")
    node.text = text
    node.value = plain_value(text) if node.interpolated else text


def expand(text: str, environ: Environment[str, str]) -> str:
    """`text` with its variables replaced. Raises Refused."""
    parts: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            parts.append("$")
            at = dollar + 2
        elif following == "{":
            at = _end_of_braces(text, dollar + 2)
            parts.append(_variable(text[dollar + 2 : at - 1], environ))
        elif _NAME.match(following):
            raise Refused("write ${NAME} with braces for a variable, or $$ for a dollar")
        else:
            parts.append("$")
            at = dollar + 1
    parts.append(text[at:])
    return "".join(parts)


def _end_of_braces(text: str, start: int) -> int:
    """The index after the brace that closes the one before `start`; braces in a default nest."""
    depth = 1
    for index in range(start, len(text)):
        if text[index] == "}":
            depth -= 1
            if depth == 0:
                return index + 1
        elif text[index] == "{" and text[index - 1] == "$":
            depth += 1
            if depth > _DEEPEST:
                raise Refused(f"defaults nested more than {_DEEPEST} deep")
    raise Refused("${ is not closed: a } is missing")


def _variable(inside: str, environ: Environment[str, str]) -> str:
    name = _NAME.match(inside)
    if name is None:
        raise Refused("${ must be followed by a variable's name, as in ${REDIS_URL:-embedded}")
    value, operator = environ.get(name[0]), inside[name.end() :]
    if operator.startswith(":-"):
        return value or expand(operator[2:], environ)
    if operator.startswith(":?"):
        if not value:
            raise Refused(f"variable {name[0]} is not set: {expand(operator[2:], environ) or 'it must be'}")
        return value
    if operator:
        raise Refused(f"${{{name[0]}...}} can be followed by :-default or :?message only")
    if value is None:
        raise Refused(f"variable {name[0]} is not set (${{{name[0]}:-...}} gives it a default)")
    return value
