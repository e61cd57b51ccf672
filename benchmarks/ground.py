"""Where figures are taken: a Valkey of its own without persistence, a directory, and `up` in it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any, Self

import psutil

import runnelctl
from runnelctl.core import keys
from runnelctl.store import connect
from tests.servers import Server, binary

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
LOOK_S = 0.02
COUNT = "local n = 0 for _, own in ipairs(KEYS) do n = n + (redis.call('HGET', own, 'count') or 0) end return n"
HANDLERS = """
import os, time

async def noop(event):
    _ = event.value

class Marks:
    async def __call__(self, event):
        os.write(self.file, b"%d\\n" % time.monotonic_ns())

    async def open(self, ctx):
        self.file = os.open("marks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
"""


class Ground:
    """See the module; everything is gone after `with`. `name` is the topology's name, too."""

    def __init__(self, name: str = "figures") -> None:
        program = binary("valkey")
        assert program is not None, "figures need the Valkey of the test installation"
        self.name = name
        self.server = Server(program, appendonly=False)
        self.directory = Path(tempfile.mkdtemp(prefix="figures-"))
        self.file = self.directory / "topology.yaml"
        (self.directory / "handlers.py").write_text(HANDLERS)
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    def __enter__(self) -> Self:
        self.server.start()
        self.client: Any = connect.client(self.server.endpoint, timeout_ms=30_000)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()
        rmtree(self.directory, ignore_errors=True)

    def topology(self, streams: str, processors: str) -> None:
        """Write the file; both are flow mappings in YAML."""
        text = f"name: {self.name}\nredis: {self.server.url}\npythonpath: [.]\n"
        self.file.write_text(f"{text}streams: {{{streams}}}\nprocessors: {{{processors}}}\n")
        self.file.chmod(0o644)

    def send(self, records: Iterable[dict[str, Any]], stream: str = "s") -> None:
        with runnelctl.connect_sync(self.file) as client:
            client.send_many(stream, records)

    def run(self, *words: str) -> tuple[float, subprocess.CompletedProcess[bytes]]:
        """A command to its end: how long it took, in seconds, and what it said."""
        began = time.perf_counter()
        done = subprocess.run(command(*words), cwd=self.directory, env=self.environ, check=True, capture_output=True)
        return time.perf_counter() - began, done

    @contextmanager
    def up(self, *words: str, until: str = "up: ") -> Iterator[subprocess.Popen[bytes]]:
        """`up` in this directory, from when it has said `until` (nothing: at once)."""
        log = self.directory / "log"
        with log.open("wb") as out:
            up = subprocess.Popen(
                command("up", *words), cwd=self.directory, env=self.environ, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out,
            )  # fmt: skip
        try:
            self.wait(lambda: until in log.read_text(), up)
            yield up
        finally:
            up.terminate()
            up.wait(PATIENCE_S)

    def wait(self, condition: Callable[[], Any], up: subprocess.Popen[bytes], look_s: float = LOOK_S) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            if up.poll() is not None or time.monotonic() > until:
                raise SystemExit((self.directory / "log").read_text()[-4_000:])
            time.sleep(look_s)

    # --- what is counted

    def processes(self, up: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """The supervisor and its children."""
        of = psutil.Process(up.pid)
        return [of, *of.children()]

    def _slices(self, up: subprocess.Popen[bytes], processor: str) -> list[psutil.Process]:
        return [each for each in self.processes(up) if each.name().startswith(f"{processor}.")]

    def server_process(self) -> psutil.Process:
        return psutil.Process(self.server.pid)

    def drain(
        self, partitions: int, events: int, processor: str = "p", stream: str = "s", look_s: float = LOOK_S
    ) -> dict[str, float]:
        """`up` on what is in a stream from its beginning: speed and CPU, in µs per event, of the processor's slices and
        of the server, between 20 and 90 % of it. Each look, every `look_s`, is work for the server: about 2 ms for
        1,024 partitions."""
        owns = [keys.own(self.name, stream, partition, processor) for partition in range(partitions)]
        with self.client.pipeline(transaction=False) as pipe:
            for partition, own in enumerate(owns):
                pipe.delete(own)
                # A group still says how far the processor was.
                pipe.xgroup_destroy(keys.events(self.name, stream, partition), processor)
            pipe.execute()
        count, server = self.client.register_script(COUNT), self.server_process()
        with self.up("--only", processor, until="") as up:
            self.wait(lambda: self._slices(up, processor), up)
            slices = self._slices(up, processor)
            self.wait(lambda: int(count(keys=owns)) >= events // 5, up, look_s)
            began, before, at = time.perf_counter(), (cpu_s(*slices), cpu_s(server)), int(count(keys=owns))
            self.wait(lambda: int(count(keys=owns)) >= events * 9 // 10, up, look_s)
            took, done = time.perf_counter() - began, int(count(keys=owns)) - at
            after = (cpu_s(*slices), cpu_s(server))
        slice_us, server_us = ((late - early) / done * 1e6 for early, late in zip(before, after, strict=True))
        return {"events_per_s": done / took, "slice_us": slice_us, "server_us": server_us}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "runnelctl", *words]


def cpu_s(*processes: psutil.Process) -> float:
    """The CPU time that they have spent."""
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


def record(number: int, size: int = 0) -> dict[str, Any]:
    """A record of about 100 bytes, or of `size`, of one of 1,000 users."""
    note = "a note of some length, as usual" if size < 100 else "x" * (size - 70)
    return {"k": f"user-{number * 7919 % 1000}", "n": number, "amount": number % 997 / 10, "note": note}
