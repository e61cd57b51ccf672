"""Options that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from runnelctl import errors, topology

_HELP = "The topology file.  [env var: RUNNELCTL_TOPOLOGY; default: what is up from here, else ./topology.yaml]"


def topology_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `-t/--topology FILE`; the command gets the file that is meant as `file: Path`."""

    @functools.wraps(function)
    def with_file(*args: Any, topology_file: str | None, **kwargs: Any) -> Any:
        return function(*args, file=topology.find(topology_file, os.environ, Path.cwd()), **kwargs)

    return _option(with_file)


def topology_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds an optional FILE argument and `-t/--topology FILE`; the command gets the file that is meant as `file: Path`.
    Giving both is refused."""

    @functools.wraps(function)
    def with_file(*args: Any, file_argument: str | None, topology_file: str | None, **kwargs: Any) -> Any:
        if file_argument is not None and topology_file is not None:
            raise errors.UsageError(f"give the file once: {file_argument}, or -t {topology_file}")
        given = topology_file if file_argument is None else file_argument
        return function(*args, file=topology.find(given, os.environ, Path.cwd()), **kwargs)

    return _option(click.argument("file_argument", metavar="[FILE]", required=False)(with_file))


def _option(function: Callable[..., Any]) -> Callable[..., Any]:
    # RUNNELCTL_TOPOLOGY is read by `find`, not by click: a FILE argument must beat it without a complaint.
    return topology_given(function)


#: `-t/--topology FILE` as it was given, or None: for a command that can do without.
topology_given = click.option("-t", "--topology", "topology_file", metavar="FILE", help=_HELP, allow_from_autoenv=False)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
