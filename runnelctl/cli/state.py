"""`runnelctl state`: what a processor keeps of a key, or of all keys; nothing is changed by looking."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from runnelctl import errors, topology
from runnelctl.cli import names, options
from runnelctl.client import reads
from runnelctl.core.model import Topology
from runnelctl.store import connect
from runnelctl.store.connect import Client
from runnelctl.store.reach import reach


@click.command()
@click.argument("action", metavar="get|list", type=click.Choice(["get", "list"]))
@click.argument("processor", shell_complete=names.processors)
@click.argument("key", required=False)
@options.topology_option
@options.json_option
def command(file: Path, action: str, processor: str, key: str | None, as_json: bool) -> int:
    """Print what PROCESSOR keeps in `ctx.state`: `get` that of one KEY, `list` that of every key, a line each.

    States are as of some commit; those of different keys may be of different moments while the topology is up. `get`
    exits 1 if there is none.
    """
    of = topology.load(file)
    reads.declared_processor(of, processor)
    if action == "get" and not key:
        raise errors.UsageError(f"state get needs a key: runnelctl state get {processor} KEY")
    if action == "list" and key is not None:
        raise errors.UsageError(f"state list takes no key: runnelctl state get {processor} {key}")
    with (
        reach(of.redis, of.name) as reached,
        connect.client(reached.endpoint, client_name="runnelctl:state") as client,
        connect.translated(reached.endpoint),
    ):
        if action == "get":
            return _get(client, of, processor, key or "", as_json=as_json)
        return _list(client, of, processor, as_json=as_json)


def _get(client: Any, of: Topology, processor: str, key: str, *, as_json: bool) -> int:
    name = reads.state_key(of, processor, key)
    with client.pipeline() as pipe:
        pipe.get(name)
        pipe.pttl(name)
        text, left_ms = pipe.execute()
    state = None if text is None else reads.decoded(text)
    if as_json:
        found = {"processor": processor, "key": key, "state": state, "ttl_ms": left_ms if left_ms >= 0 else None}
        click.echo(_line(found))
    elif state is None:
        click.echo(f"{processor} keeps no state of key {key!r}", err=True)
    else:
        click.echo(json.dumps(state, indent=2, ensure_ascii=False))
    return errors.EXIT_ERROR if state is None else errors.EXIT_OK


def _list(client: Client, of: Topology, processor: str, *, as_json: bool) -> int:
    sweep, cursor, count = reads.Sweep(of, processor), -1, 0
    any_client: Any = client
    while cursor:
        cursor, found = any_client.scan(max(cursor, 0), match=sweep.pattern, count=reads.SCAN_COUNT)
        fresh = sweep.fresh(found)
        for key, state in sweep.pairs(fresh, any_client.mget(fresh) if fresh else []):
            count += 1
            click.echo(_line({"key": key, "state": state}) if as_json else f"{_shown(key)}\t{_line(state)}")
    if not count:
        click.echo(f"{processor} keeps no state", err=True)
    return errors.EXIT_OK


def _line(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode()  # a foreign sender's key need not be UTF-8


def _shown(key: str) -> str:
    """A key on a line of its own, harmless for a terminal."""
    text = key.encode("utf-8", "backslashreplace").decode()
    return json.dumps(text) if sys.stdout.isatty() and not text.isprintable() else text.replace("\n", "\\n")
