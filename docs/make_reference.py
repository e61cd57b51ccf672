"""Writes the parts of docs/reference.md that the code knows best, between their markers; the rest of it is prose.

python docs/make_reference.py            write it anew
python docs/make_reference.py --check    exit 1 if it is not up to date
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from runnelctl import topology
from runnelctl.cli import main
from runnelctl.core import keys

REFERENCE = Path(__file__).with_name("reference.md")
#: Two hands, one sentence: `defaults` takes what a processor takes.
REPEATED = ("defaults",)

Json = dict[str, Any]


def render(text: str) -> str:
    """`text` with each generated part written anew. Raises KeyError for a marker of a part that is not known."""

    def part(found: re.Match[str]) -> str:
        name = found[1]
        return f"<!-- {name} -->\n\n{PARTS[name]().strip()}\n\n<!-- /{name} -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", part, text, flags=re.DOTALL)


def commands() -> dict[str, click.Command]:
    """Every command that there is, in the order of `--help`."""
    return {name: importlib.import_module(f"runnelctl.cli.{name}").command for name in main.COMMANDS}


def _commands() -> str:
    return "\n\n".join(_command(name, command) for name, command in commands().items())


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    usage = " ".join(["runnelctl", name, *command.collect_usage_pieces(context)])
    lines = [f"### {name}", "", f"`{usage}`", "", _prose(command.help or "")]
    for below, each in command.commands.items() if isinstance(command, click.Group) else ():
        usage = " ".join(["runnelctl", name, below, *each.collect_usage_pieces(click.Context(each))])
        lines += ["", f"`{usage}`", "", _prose(each.help or "")]
    options = [each for each in command.params if isinstance(each, click.Option)]
    if options:
        lines += ["", "| option | |", "|---|---|"]
        lines += [f"| {_flags(each)} | {_cell(_meaning(each))} |" for each in options]
    return "\n".join(lines)


def _prose(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _flags(option: click.Option) -> str:
    value = ""
    if not option.is_flag:
        choices = option.type.choices if isinstance(option.type, click.Choice) else ()
        value = f" {'|'.join(map(str, choices)) or option.metavar or option.type.name.upper().split()[0]}"
    names = [*option.opts, *option.secondary_opts]
    return ", ".join(f"`{_cell(name + value * (name == names[-1]))}`" for name in names)


def _meaning(option: click.Option) -> str:
    default = f" Default: `{option.default}`." if option.show_default else ""
    return f"{option.help or ''}{default}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _topology() -> str:
    schema = json.loads(topology.text_of_schema())
    rows = [
        f"| `{path}` | {_cell(title)} | {default} | {_cell(description)} |"
        for path, title, default, description in topology_keys(schema)
    ]
    return "\n".join(["| key | value | default | |", "|---|---|---|---|", *rows])


def topology_keys(schema: Json) -> Iterator[tuple[str, str, str, str]]:
    """Every key of a topology file: its path with `*` for a name, what it takes, its default, what it means."""
    yield from _walk("", schema, schema)


def _walk(path: str, node: Json, schema: Json) -> Iterator[tuple[str, str, str, str]]:
    required = node.get("required", ())
    for name, raw in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        each = _resolved(raw, schema)
        default = "**required**" if name in required else _written(each.get("default"))
        yield here, each.get("title") or each.get("type", ""), default, each.get("description", "")
        if name in REPEATED:
            continue
        yield from _walk(here, each, schema)
        named = each.get("additionalProperties")
        if isinstance(named, dict):
            yield from _walk(f"{here}.*", _resolved(named, schema), schema)


def _resolved(node: Json, schema: Json) -> Json:
    """A node with what its $ref refers to; what stands beside the $ref goes first."""
    reference = node.get("$ref")
    if reference is None:
        return node
    target = schema["definitions"][reference.rpartition("/")[2]]
    return {**_resolved(target, schema), **{key: value for key, value in node.items() if key != "$ref"}}


def _written(default: object) -> str:
    return "" if default is None else f"`{default}`"


def _keys() -> str:
    rows = [f"| `{pattern}` | {_cell(text)} |" for pattern, text in redis_keys()]
    return "\n".join(["| key | |", "|---|---|", *rows])


def redis_keys() -> Iterator[tuple[str, str]]:
    """Every key in Redis, with `<...>` where a name goes, and what it is."""
    for name, function in inspect.getmembers(keys, inspect.isfunction):
        if name != "tag":
            names = [f"<{parameter}>" for parameter in inspect.signature(function).parameters]
            yield function(*names), inspect.getdoc(function) or ""


PARTS: dict[str, Callable[[], str]] = {"commands": _commands, "topology": _topology, "keys": _keys}


def run(arguments: list[str]) -> int:
    """Write the reference, or with --check only compare. Returns the exit code."""
    before = REFERENCE.read_text(encoding="utf-8")
    after = render(before)
    if "--check" in arguments:
        return int(after != before)
    REFERENCE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
