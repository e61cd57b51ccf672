"""What a shell may complete: the streams and processors of the topology that the command line is about."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem


def streams(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The topology's streams that begin as what is typed."""
    return _items(context, "streams", begun)


def processors(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The topology's processors that begin as what is typed."""
    return _items(context, "processors", begun)


def _items(context: click.Context, kind: str, begun: str) -> list[CompletionItem]:
    from runnelctl import errors, topology

    given = context.params.get("topology_file") or context.params.get("file_argument")
    try:
        loaded = topology.load(topology.find(given, os.environ, Path.cwd()))
    except errors.RunnelctlError:
        return []  # a shell waiting for completions is no place for a message
    return [CompletionItem(name) for name in getattr(loaded, kind) if name.startswith(begun)]
