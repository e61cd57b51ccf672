"""`runnelctl send`: records from arguments, a file or stdin into a stream, all checked before the first is sent."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TextIO

import click

from runnelctl import errors, topology
from runnelctl.cli import jsonlines, names, options
from runnelctl.cli.bulk import Bulk, Refused, Sent
from runnelctl.client.sender import declared


@click.command()
@click.argument("stream", shell_complete=names.streams)
@click.argument("records", metavar="[RECORD]...", nargs=-1)
@click.option("-f", "--file", "lines_file", metavar="FILE", help="JSON lines, gzipped or not; - for stdin.")
@click.option("-k", "--key", help="The routing key of every record, instead of the stream's key field.")
@click.option("-H", "--header", "headers", metavar="NAME=VALUE", multiple=True, help="A header for every record.")
@click.option(
    "--on-invalid",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What one bad record costs: everything is left unsent, or it alone.",
)
@click.option("--rejected", metavar="OUT", help="Write refused records to this file, as JSON lines with the reason.")
@options.topology_option
@options.json_option
def command(
    file: Path,
    stream: str,
    records: tuple[str, ...],
    lines_file: str | None,
    key: str | None,
    headers: tuple[str, ...],
    on_invalid: str,
    rejected: str | None,
    as_json: bool,
) -> None:
    """Send RECORDs, each a JSON text, to STREAM; or the lines of a file, or of stdin (-f -).

    Each record is checked against the stream's schema. The ids of records given as arguments go to stdout.
    """
    if records == (jsonlines.STDIN,) and lines_file is None:
        records, lines_file = (), jsonlines.STDIN
    if bool(records) == (lines_file is not None):
        raise errors.UsageError(
            "give records, or a file with --file FILE (- for stdin)" + (", not both" * bool(records))
        )
    of = topology.load(file)
    bulk = Bulk(of, declared(of, stream), key, _pairs(headers), skip=on_invalid == "skip")
    place = "record " if lines_file is None else f"{'stdin' if lines_file == jsonlines.STDIN else lines_file}:"
    with contextlib.ExitStack() as stack:
        refused = Refused(place, _out(stack, rejected, lines_file))
        if lines_file is None:
            texts = [(number, text.encode("utf-8", "surrogateescape")) for number, text in enumerate(records, start=1)]
            sent = bulk.run(lambda: texts, refused, lambda: (0, None))
        else:
            source = stack.enter_context(jsonlines.opened(lines_file, twice=not bulk.skip))
            sent = bulk.run(source.lines, refused, lambda: (source.position, source.size))
    _report(sent, as_json=as_json, print_ids=lines_file is None)


def _report(sent: Sent, *, as_json: bool, print_ids: bool) -> None:
    if as_json:
        report = {"stream": sent.stream.name, "sent": sent.count, "refused": sent.refused, "ids": sent.first_ids}
        click.echo(json.dumps(report))
    elif print_ids and sent.first_ids:
        click.echo("\n".join(sent.first_ids))
    records = "1 record" if sent.count == 1 else f"{sent.count:,} records"
    partitions = "1 partition" if sent.stream.partitions == 1 else f"{sent.stream.partitions:,} partitions"
    refused = f", {sent.refused:,} refused" if sent.refused else ""
    click.echo(f"sent {records} to {sent.stream.name} ({partitions}) in {sent.seconds:.1f} s{refused}", err=True)


def _pairs(headers: tuple[str, ...]) -> dict[str, str]:
    for header in headers:
        if not header.partition("=")[0] or "=" not in header:
            raise errors.UsageError(f"--header {header!r}: write NAME=VALUE")
    return {name: value for name, _, value in (header.partition("=") for header in headers)}


def _out(stack: contextlib.ExitStack, path: str | None, source: str | None) -> TextIO | None:
    if path is None:
        return None
    try:
        if source and Path(path).exists() and Path(source).exists() and Path(path).samefile(source):
            raise errors.UsageError(f"--rejected {path} is the very file that is to be sent")
        return stack.enter_context(Path(path).open("w", encoding="utf-8"))
    except OSError as error:
        raise errors.UsageError(f"cannot write {path}: {error.strerror}") from None
