"""`runnelctl check`: every mistake in a topology file, its schemas and its handlers, at once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from runnelctl import errors, topology
from runnelctl.cli import handler_trial, options, recordcheck
from runnelctl.cli.handler_trial import Subject

#: Where the file names code that is no handler -> the key that names it.
_WORDS = {"middleware": "middleware", "task": "run"}


@click.command()
@options.topology_argument
@options.json_option
def command(file: Path, as_json: bool) -> int:
    """Find every mistake in a topology file: exits 2 if there is any.

    Handlers and middleware are imported too, in a process of their own.
    """
    examined, problems = everything(file)
    if as_json:
        found = {"ok": not problems, "problems": _plain(problems), "warnings": _plain(examined.warnings)}
        click.echo(json.dumps(found, indent=2))
    else:
        for warning in examined.warnings:
            click.echo(f"{warning.file}:{warning.line}:{warning.column}: warning: {warning.message}", err=True)
        for problem in problems:
            click.echo(str(problem), err=True)
        if not problems and examined.topology is not None:
            of = examined.topology
            counts = [_count(len(of.streams), "stream"), _count(len(of.processors), "processor")]
            counts += [_count(len(of.tasks), "task")] if of.tasks else []
            click.echo(f"{file}: ok: {', '.join(counts)}")
    return errors.EXIT_USAGE if problems else errors.EXIT_OK


def everything(file: Path, overrides: dict[str, Any] | None = None) -> tuple[topology.Examined, list[errors.Problem]]:
    """What can be said of a file, and every mistake in it and in what it names. `overrides`: as in topology.load."""
    examined = topology.examine(file, overrides=overrides)
    problems, doubts = _tried(examined)
    more, more_doubts = recordcheck.tried(examined)
    examined.warnings.extend([*doubts, *more_doubts])
    return examined, sorted([*examined.problems, *problems, *more])


def _tried(examined: topology.Examined) -> tuple[list[errors.Problem], list[errors.Problem]]:
    """What is wrong with handlers and middleware, and what is odd about them."""
    subjects = [Subject(each.spec, each.what, each.side_by_side) for each in examined.handlers]
    verdicts = handler_trial.verdicts(subjects, examined.pythonpath)
    problems: list[errors.Problem] = []
    doubts: list[errors.Problem] = []
    for each, subject in zip(examined.handlers, subjects, strict=True):
        verdict, place = verdicts[subject], each.place
        word = _WORDS.get(each.what, "handler")
        for found, message in ((problems, verdict.problem), (doubts, verdict.doubt)):
            if message is not None:
                found.append(errors.Problem(place.file, place.line, place.column, f"{word} {each.spec}: {message}"))
    return problems, doubts


def _plain(problems: list[errors.Problem]) -> list[dict[str, str | int]]:
    return [dataclasses.asdict(problem) for problem in problems]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
