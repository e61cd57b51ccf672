"""`runnelctl tail`: what is in a stream, and what comes; no cursor is touched."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import moments, names, options
from runnelctl.cli.listing import Listing
from runnelctl.cli.moments import Moment
from runnelctl.cli.watch import PASSING
from runnelctl.client.sender import declared
from runnelctl.core import keys
from runnelctl.core.model import Stream, Topology
from runnelctl.records import codec_for
from runnelctl.store import connect
from runnelctl.store.excerpt import Entry, Excerpt
from runnelctl.store.reach import Reached, reach

LAST = 10
PAUSE_S = 0.5


@click.command()
@click.argument("stream", shell_complete=names.streams)
@click.option("-n", "--lines", "count", type=click.IntRange(0), metavar="N", help="How many events; 10 unless --since.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-p", "--partition", type=click.IntRange(0), metavar="P", help="Only this partition.")
@click.option("-k", "--key", help="Only events of this key.")
@click.option("--since", metavar="10m|TIME|ID", help="From there on; everything, unless -n says how much of it.")
@options.topology_option
@options.json_option
def command(
    file: Path,
    stream: str,
    count: int | None,
    follow: bool,
    partition: int | None,
    key: str | None,
    since: str | None,
    as_json: bool,
) -> int:
    """Show the last events of STREAM, all partitions merged by time. Nothing is moved or marked.

    A line each on a terminal: time, partition, id, key, record. Elsewhere, and with --json, a JSON object each: id,
    partition, key, timestamp, headers, and the record as value; one that cannot be decoded as raw, with the error.
    """
    of = topology.load(file)
    about = declared(of, stream)
    moment = None if since is None else moments.parse(since, "--since")
    partitions = _partitions(about, partition, key)
    terminal = sys.stdout.isatty()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    width = shutil.get_terminal_size().columns if terminal and not as_json else None
    listing = Listing(codec_for(about), width)
    with contextlib.suppress(KeyboardInterrupt), reach(of.redis, of.name) as reached:
        _show(of, reached, about, partitions, listing, moment, count, key, follow=follow)
    return errors.EXIT_OK


def _partitions(stream: Stream, partition: int | None, key: str | None) -> list[int]:
    """Where to look; a key is in one partition."""
    if partition is not None:
        if partition >= stream.partitions:
            raise errors.UsageError(f"{stream.name} has no partition {partition}: it has 0 to {stream.partitions - 1}")
        return [partition]
    if key:
        return [codec_for(stream).partition_of(key, b"")]
    return list(range(stream.partitions))


def _show(
    of: Topology, reached: Reached, stream: Stream, partitions: list[int], listing: Listing,
    moment: Moment | None, count: int | None, key: str | None, *, follow: bool,
) -> None:  # fmt: skip
    names = {number: keys.events(of.name, stream.name, number) for number in partitions}

    def wanted(entry: Entry) -> bool:
        return key is None or listing.key(entry) == key

    with connect.client(reached.endpoint, client_name="runnelctl:tail") as client:
        excerpt = Excerpt(client, names, wanted)
        with connect.translated(reached.endpoint):
            _print(listing, _first(excerpt, moment, count))
        while follow:
            try:
                with connect.translated(reached.endpoint):
                    entries = excerpt.follow()
            except PASSING as error:
                click.echo(f"runnelctl: {error}; going on when it is back", err=True)
                entries = _wait(excerpt, reached)
            _print(listing, entries)


def _first(excerpt: Excerpt, moment: Moment | None, count: int | None) -> Iterable[Entry]:
    """What there is already."""
    if moment is None:
        return excerpt.last(LAST if count is None else count)
    first = moment.first(excerpt.server_ms())
    return excerpt.since(first) if count is None else excerpt.last_since(first, count)


def _wait(excerpt: Excerpt, reached: Reached) -> list[Entry]:
    """Ask until the server is back; it was said that it is away."""
    while True:
        time.sleep(PAUSE_S)
        with contextlib.suppress(*PASSING), connect.translated(reached.endpoint):
            return excerpt.follow()


def _print(listing: Listing, entries: Iterable[Entry]) -> None:
    for entry in entries:
        click.echo(listing.line(entry))
