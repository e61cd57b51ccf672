"""A text in the user's own editor, again and again until it is right or given up."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from runnelctl import errors

T = TypeVar("T")


def edit(text: str, name: str, check: Callable[[str], T], *, again: bool) -> T | None:
    """Open `text` in $VISUAL or $EDITOR and return what `check` makes of it; None if it was left as it was.

    When `check` raises RecordError the reason is shown; with `again` the editor may be opened once more, else the error
    is raised. Raises UsageError if there is no editor, RunnelctlError if it fails.
    """
    program = _editor()
    given = text
    with tempfile.TemporaryDirectory(prefix="runnelctl-") as folder:
        file = Path(folder) / f"{name.replace(':', '-')}.json"
        while True:
            file.write_text(given, encoding="utf-8", errors="surrogateescape")
            given = _run(program, file)
            if given.strip() == text.strip():
                return None
            try:
                return check(given)
            except errors.RecordError as error:
                message = f"the edited record of {name} is refused: {_where(given) or error}"
                if not again:
                    raise errors.RecordError(f"{message}; nothing done") from None
            click.echo(message, err=True)
            if not click.confirm("edit it again?", default=True, err=True):
                return None


def _editor() -> list[str]:
    for variable in ("VISUAL", "EDITOR"):
        try:
            words = shlex.split(os.environ.get(variable, ""))
        except ValueError as error:
            raise errors.UsageError(f"${variable} cannot be read: {error}") from None
        if words:
            if shutil.which(words[0]) is None:
                raise errors.UsageError(f"${variable} names {words[0]}, which is not a program that can be run")
            return words
    for name in ("sensible-editor", "vi", "nano"):
        if shutil.which(name):
            return [name]
    raise errors.UsageError("there is no editor: set $EDITOR to one")


def _run(program: list[str], file: Path) -> str:
    ended = subprocess.run([*program, str(file)], check=False)
    if ended.returncode:
        raise errors.RunnelctlError(f"the editor {program[0]} ended with code {ended.returncode}; nothing done")
    return file.read_text(encoding="utf-8", errors="surrogateescape")


def _where(text: str) -> str | None:
    """Where the text stops being JSON, by line and column; None if it is JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
    except (ValueError, RecursionError):
        pass
    return None
