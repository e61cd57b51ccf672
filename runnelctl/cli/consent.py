"""Asking before something that can't be taken back."""

from __future__ import annotations

import sys

import click

from runnelctl import errors


def given(question: str, what: str, *, yes: bool) -> bool:
    """Whether the user says so: at once with `yes`, else asked on the terminal. Raises UsageError where nobody can be
    asked, with `what` as the verb that --yes is for."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise errors.UsageError(f"there is no terminal to ask on: add --yes to {what}")
    if click.confirm(question, default=False, err=True):
        return True
    click.echo("nothing done", err=True)
    return False
