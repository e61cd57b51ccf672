"""`runnelctl init`: a small project that runs at once, to be changed into yours."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import click

from runnelctl import errors

#: What is written, and which file beside this module it is made from. `@NAME@` in it becomes the topology's name.
FILES = {
    "topology.yaml": "topology.yaml",
    "handlers.py": "handlers.py.txt",
    "schemas/order.json": "order.json",
    "orders.jsonl": "orders.jsonl",
    "topology.test.yaml": "topology.test.yaml",
    "test_handlers.py": "test_handlers.py.txt",
    "README.md": "README.md",
    ".gitignore": "gitignore.txt",
}
_LONGEST_NAME = 64


@click.command()
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", help="The topology's name, the prefix of its keys in Redis.  [default: the directory's name]")
@click.option("--from-runnel", "app", metavar="MODULE:APP", help="Write the topology of this Runnel app instead.")
def command(directory: Path, name: str | None, app: str | None) -> int:
    """Start a project in DIR (default: here): a topology, a handler, a schema, some records, tests.

    With --from-runnel: a topology for the Runnel app that is in DIR; its handlers run as they are, without Runnel.
    Writes over nothing: if one of its files is there already, nothing is written.
    """
    if app is not None:
        from runnelctl.cli import migration

        return migration.write(app, directory)
    name = name or _name_of(directory)
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{_LONGEST_NAME - 1}}}", name):
        raise errors.UsageError(
            f"{name!r} cannot be a topology's name: up to {_LONGEST_NAME} letters, digits, and . _ - after the first"
        )
    there = [file for file in FILES if (directory / file).exists()]
    if there:
        raise errors.UsageError(f"{directory} has {', '.join(there)} already: nothing was written")
    templates = resources.files("runnelctl.cli") / "project"
    for file, template in FILES.items():
        path = directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((templates / template).read_text("utf-8").replace("@NAME@", name), "utf-8")
        path.chmod(path.stat().st_mode & ~0o022)  # a topology names code to run: nobody else may write it
        click.echo(f"wrote {path}")
    here = directory.resolve() == Path.cwd()
    click.echo(f"next: {'' if here else f'cd {directory} && '}runnelctl up", err=True)
    return errors.EXIT_OK


def _name_of(directory: Path) -> str:
    """The directory's name as far as it can be a topology's."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", directory.resolve().name).strip("-_.")
    return name[:_LONGEST_NAME] or "orders"
