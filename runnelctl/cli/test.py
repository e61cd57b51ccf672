"""`runnelctl test`: cases in YAML, tried in one process without Redis."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from runnelctl import errors
from runnelctl.cli import options

SUFFIX = ".test.yaml"


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("-k", "--case", "pattern", metavar="NAME", help="Only cases of this name; * stands for anything.")
@click.option("--log", is_flag=True, help="Show what the runtime logs, on stderr.")
@options.json_option
def command(files: tuple[Path, ...], pattern: str | None, log: bool, as_json: bool) -> int:
    """Try cases: given records, expected emits, states and failures, without Redis and on a virtual clock.

    FILE is a file of cases, or a topology that has one beside it: shop.test.yaml for shop.yaml. By default all that are
    called *.test.yaml here. Exits 1 if a case fails, 2 if a file is wrong.
    """
    found = [_cases_of(file) for file in files] or sorted(Path.cwd().glob(f"*{SUFFIX}"))
    if not found:
        raise errors.UsageError(
            f"no cases: there is no *{SUFFIX} here; give a file of cases, or a topology that has one"
        )
    if len(found) > 1:  # each in a process of its own, since their handlers may be modules of the same name
        tried, code = _in_processes(found, pattern, log)
    else:
        tried, code = _in_this_process(found[0], pattern, log)
    failed = sum(not each["ok"] for each in tried)
    if as_json:
        click.echo(json.dumps({"ok": not code and not failed, "cases": tried}, indent=2))
    else:
        for each in tried:
            _show(each)
        click.echo(f"{len(tried)} case{'s' * (len(tried) != 1)}, {failed} failed")
    if not tried and not code:
        raise errors.UsageError(f"no case is called {pattern!r}" if pattern else "there is no case in these files")
    return code or (errors.EXIT_ERROR if failed else errors.EXIT_OK)


def _cases_of(file: Path) -> Path:
    from runnelctl.testing import trying

    cases = trying.beside(file)
    if cases != file and not cases.exists():
        raise errors.UsageError(f"{file} has no cases: there is no {cases}")
    return cases


def _in_this_process(file: Path, pattern: str | None, log: bool) -> tuple[list[dict[str, Any]], int]:
    from runnelctl.testing import cases, trying

    _route_log(log)
    loaded = cases.load(_shown(file))
    with contextlib.redirect_stdout(sys.stderr):  # what handlers print is talk
        tried = list(trying.tried(loaded, lambda name: pattern is None or fnmatch.fnmatchcase(name, pattern)))
    return [
        {
            "file": loaded.file,
            "case": each.case.name,
            "ok": not each.problems,
            "problems": [dataclasses.asdict(problem) for problem in each.problems],
        }
        for each in tried
    ], errors.EXIT_OK


def _in_processes(files: list[Path], pattern: str | None, log: bool) -> tuple[list[dict[str, Any]], int]:
    tried, code = [], errors.EXIT_OK
    for file in files:
        arguments = ["--json", *(["--case", pattern] if pattern else []), *(["--log"] if log else [])]
        command = [sys.executable, "-m", "runnelctl", "test", _shown(file), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.stdout.strip():
            tried += json.loads(ended.stdout)["cases"]
        elif pattern is None or ended.returncode != errors.EXIT_USAGE or "no case is called" not in ended.stderr:
            code = max(code, ended.returncode)
        if ended.stderr and not (pattern and "no case is called" in ended.stderr):
            click.echo(ended.stderr, err=True, nl=False)
    return tried, code


def _route_log(log: bool) -> None:
    """The runtime's log lines are about failures that are expected, most of the time."""
    if log:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    else:
        logging.getLogger("runnelctl").addHandler(logging.NullHandler())
        logging.getLogger("runnelctl").propagate = False


def _shown(file: Path) -> str:
    """The file as it is called in messages: relative to here where it is below."""
    resolved = file.absolute()
    return str(resolved.relative_to(Path.cwd())) if resolved.is_relative_to(Path.cwd()) else str(file)


def _show(tried: dict[str, Any]) -> None:
    click.echo(f"{'ok  ' if tried['ok'] else 'FAIL'} {tried['file']}: {tried['case']}")
    for problem in tried["problems"]:
        click.echo(f"  {problem['file']}:{problem['line']}:{problem['column']}: {problem['message']}")
