"""`runnelctl init --from-runnel module:app`: a topology file for an app that was written for Runnel."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runnelctl import errors, handling, standin

TARGET = "topology.yaml"


def write(source: str, directory: Path) -> int:
    """Import the app that `source` names from `directory`, and write the topology beside it. Returns an exit code.

    Raises UsageError if a topology is there already, HandlerError if the app can't be imported or is none.
    """
    file = directory / TARGET
    if file.exists():
        raise errors.UsageError(f"{file} is there already: nothing was written")
    if standin.is_installed():
        raise errors.UsageError("Runnel itself is installed here: run this in an environment without it")
    handling.put_on_path([str(directory.resolve())])
    found = handling.resolve(source)
    from runnelctl.runnel.apps import App
    from runnelctl.runnel.translate import translate

    if not isinstance(found, App):
        raise errors.UsageError(f"{source} is {type(found).__name__}, not a Runnel App")
    if found.setting("autodiscover"):
        _discover(directory, str(found.setting("autodiscover")))
    translation = translate(found, source)
    file.write_text(translation.text, "utf-8")
    file.chmod(file.stat().st_mode & ~0o022)  # it names code to run: nobody else may write it
    click.echo(f"wrote {file}")
    for note in translation.notes:
        click.echo(f"  {note}", err=True)
    click.echo("next: runnelctl check && runnelctl up", err=True)
    return errors.EXIT_OK


def _discover(directory: Path, pattern: str) -> None:
    """Import what the app's `autodiscover` matches, as a worker of Runnel's would."""
    for path in sorted(directory.glob(pattern)):
        module = ".".join(path.relative_to(directory).with_suffix("").parts)
        if module not in sys.modules:
            handling.module(module)
