"""`runnelctl logs`: the output of a detached `up`."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import click

from runnelctl import errors, topology
from runnelctl.cli import hosting, names
from runnelctl.cli.options import topology_option
from runnelctl.client.reads import declared_processor
from runnelctl.runtime import homes
from runnelctl.runtime.homes import Home

POLL_S = 0.2
_CHUNK = 1 << 16
#: What the runtime puts between a label and the line; see runtime/output.py.
_BAR = " │ ".encode()
_JSON = b'{"process":"'  # with log: {format: json}; see runtime/loglines.py


@click.command()
@click.argument("target", metavar="[PROCESSOR[.SLICE]|TASK]", required=False, shell_complete=names.processors)
@click.option("-f", "--follow", is_flag=True, help="Go on until the host ends.")
@click.option("-n", "--lines", type=click.IntRange(min=0), help="Only the last N lines.")
@topology_option
def command(file: Path, target: str | None, follow: bool, lines: int | None) -> None:
    """Print what a detached `up` and its slices wrote; of the one that ran last if none is up. PROCESSOR or
    PROCESSOR.SLICE or TASK: only its lines."""
    name = hosting.name_of(file)
    home = _home(name)
    if target is not None:
        _check(file, target)
    old = home.log.with_name(f"{home.log.name}.1")
    before = _lines_of(old) if old.exists() else iter(())
    with contextlib.closing(Tail(home.log)) as tail:
        _print(_some(matching(itertools.chain(before, tail.read()), target), lines))
        while follow:
            alive = home.alive  # asked before the last read, or the last words could be missed
            _print(matching(tail.read(last=not alive), target))
            if not alive:
                return
            time.sleep(POLL_S)


def _home(name: str) -> Home:
    """The detached host that is meant: the newest that is up, else the last that was."""
    logged = [home for home in homes.found(homes.root(), name) if home.detached and home.log.exists()]
    if not logged:
        raise errors.RunnelctlError(f"{name}: no detached host ran from here; `runnelctl up --detach` starts one")
    up = [home for home in logged if home.alive]
    if len(up) > 1:
        others = ", ".join(home.host for home in up[:-1])
        click.echo(f"{name}: this is {up[-1].host}; also up from here: {others}", err=True)
    return (up or logged)[-1]


def _check(file: Path, target: str) -> None:
    """Refuse the name of a processor that there is not, if the file can be read."""
    try:
        of = topology.load(file)
    except errors.RunnelctlError:
        return
    processor, dot, number = target.rpartition(".")
    if target in of.tasks or (of.tasks and target == "tasks"):
        return
    if target not in of.processors and not (dot and number.isdigit() and processor in of.processors):
        declared_processor(of, processor if dot and number.isdigit() else target)


class Tail:
    """A log that is being written to, and now and then renamed or cut: `read` gives the whole lines that are new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")
        self._rest = b""

    def close(self) -> None:
        self._file.close()

    def read(self, *, last: bool = False) -> Iterator[bytes]:
        """Lines with their ends. `last`: a line without an end will not get one any more."""
        while True:
            yield from self._new()
            if not self._starts_anew():
                break
        if last and self._rest:
            yield self._rest + b"\n"
            self._rest = b""

    def _new(self) -> Iterator[bytes]:
        while chunk := self._file.read(_CHUNK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"

    def _starts_anew(self) -> bool:
        """Whether the log is another file by now, or was cut: then it is to be read from its start. What was written
        to a renamed file after our last read comes first."""
        try:
            there = self._path.stat()
        except OSError:
            return False  # removed with its home
        if there.st_ino == os.fstat(self._file.fileno()).st_ino:
            cut = there.st_size < self._file.tell()
            if cut:
                self._file.seek(0)
            return cut
        if os.fstat(self._file.fileno()).st_size == self._file.tell():
            self._file.close()
            self._file = self._path.open("rb")
        return True


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def matching(lines: Iterable[bytes], target: str | None) -> Iterator[bytes]:
    """The lines whose label is the slice `target`, or a slice of the processor `target`, or those of the task
    `target`: the tasks process puts its name before them."""
    wanted = None if target is None else target.encode()
    for line in lines:
        if wanted is None:
            yield line
            continue
        if line.startswith(_JSON):
            label, _, text = line[len(_JSON) :].partition(b'"')
            text = text.partition(b'"message":"')[2]
        else:
            label, _, text = line.partition(_BAR)
        label = label.rstrip()
        processor, _, number = label.rpartition(b".")
        ours = label == b"tasks" and (text.startswith(wanted + b": ") or b',"task":"%s",' % wanted in line)
        if label == wanted or (processor == wanted and number.isdigit()) or ours:
            yield line


def _some(lines: Iterable[bytes], most: int | None) -> Iterable[bytes]:
    return lines if most is None else deque(lines, maxlen=most)


def _print(lines: Iterable[bytes]) -> None:
    out = sys.stdout.buffer
    for line in lines:
        out.write(line)
    out.flush()
