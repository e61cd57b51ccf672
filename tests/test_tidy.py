"""The house rules that a reader relies on, held by a test: size, docstrings, names, script headers, one home each."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from runnelctl.cli import main

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "runnelctl"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(PACKAGE.rglob("*.lua"))
SOURCES = sorted(
    path
    for folder in ("runnelctl", "tests", "topologies", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
)

FILE_LINES = 300
FUNCTION_LINES = 50
#: Files that are over the limit and may only shrink: take a line out of here, never put one in.
TOO_LONG: dict[str, int] = {}

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc"}
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))
KEY_AFTER_TAG = re.compile(r"\}:\w")  # as in "{shop:orders:3}:events"
#: A slice that explains why it can't start, to its captured stderr; a small process that writes its own log.
MAY_PRINT = {"runnelctl/runtime/workload.py", "runnelctl/store/warden.py"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{name(path)} does not say what it is for: it has no docstring"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    limit = TOO_LONG.get(name(path), FILE_LINES)
    assert lines <= limit, f"{name(path)} has {lines} lines, {limit} are allowed: split it"
    long = {function.name: length(function) for function in functions(path) if length(function) > FUNCTION_LINES}
    assert not long, f"{name(path)}: functions over {FUNCTION_LINES} lines: {long}"
    banned = {*path.with_suffix("").relative_to(ROOT).parts} & BANNED_NAMES
    assert not banned, f"{name(path)}: {banned} says nothing of what is inside"


def test_the_list_of_long_files_shrinks() -> None:
    for path, limit in TOO_LONG.items():
        lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        assert lines > FILE_LINES, f"{path} has {lines} lines now: take it off TOO_LONG (limit there: {limit})"


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS], ids=name)
def test_nothing_is_left_for_later(path: Path) -> None:
    found = [
        number
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if UNFINISHED.search(line)
    ]
    assert not found, f"{name(path)}: lines {found}: finish it, or open an issue"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_takes_and_why_it_is_one(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#!lua"), f"{path.name} does not begin with #!lua, so Redis guesses what it may do"
    header = "\n".join(lines[1 : next(at for at, line in enumerate(lines) if at and not line.startswith("--"))])
    needed = ["KEYS", "Returns", "Atomic", *(["ARGV"] if "ARGV[" in "\n".join(lines) else [])]
    missing = [word for word in needed if not re.search(rf"\b{word}\b", header)]
    assert not missing, f"the header of {path.name} says nothing of {', '.join(missing)}"


@pytest.mark.parametrize("command", main.COMMANDS)
def test_a_command_has_a_module_and_says_what_it_does(command: str) -> None:
    found = importlib.import_module(f"runnelctl.cli.{command}").command
    assert isinstance(found, click.Command)
    assert found.help, f"`runnelctl {command} --help` says nothing of what it does"
    mute = [parameter.opts for parameter in found.params if isinstance(parameter, click.Option) and not parameter.help]
    assert not mute, f"`runnelctl {command}`: {mute} have no help"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_key_names_are_made_in_one_place(path: Path) -> None:
    found = [text for text in _texts(tree(path)) if KEY_AFTER_TAG.search(text)]
    if path == PACKAGE / "core" / "keys.py":
        assert found, "this test does not see key names any more"
    else:
        assert not found, f"{name(path)} builds the name of a key itself, which is for core/keys.py: {found}"


def _texts(module: ast.Module) -> Iterator[str]:
    """Every text in the code, those inside f-strings included, but for docstrings."""
    prose = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_commands_print(path: Path) -> None:
    if path.is_relative_to(PACKAGE / "cli") or name(path) in MAY_PRINT:
        return
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    found = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not found, f"{name(path)} prints at lines {found}: return it, log it, or give it to the supervisor's output"
