"""One peer: its environment, its backlog, and one round of its worker."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.window import window
from tests import servers
from tests.chaos.peer import installed, python_of
from tests.waiting import wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True, slots=True)
class Peer:
    """`package` names its requirements (`….txt`) and its program (`…_app.py`), `way` one of that program's ways;
    `run` is what python is given to start one worker process."""

    package: str
    way: str
    events: int
    run: Sequence[str]
    says: str
    case: str = "noop"

    @property
    def app(self) -> str:
        return f"benchmarks.peers.{self.package}_app"

    @property
    def version(self) -> str:
        """Of the package itself, as its requirements pin it."""
        lines = (HERE / f"{self.package}.txt").read_text().split()
        names = (self.package, f"{self.package}-py")
        return next(version for name, _, version in (line.partition("==") for line in lines) if name in names)


def environment(package: str) -> Path:
    """The python of the package's environment, which is made on first use and again when its pins change."""
    pins = HERE / f"{package}.txt"
    python = python_of(None) if package == "runnel" else sys.executable
    mark = zlib.crc32(pins.read_bytes() + python.encode() + sys.version.encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "runnelctl-peers"
    directory = cache / f"{package}-{mark:08x}"
    complete = directory / "complete"
    if not complete.exists():
        print(f"installing {package} into {directory}", file=sys.stderr)
        installed(python, directory, "--disable-pip-version-check", "-r", str(pins))
        complete.touch()
    return directory / "bin" / "python"


def drained(peer: Peer, url: str, server: int, events: int) -> dict[str, float]:
    """One round: fills an empty server with so many events, then one worker handles them. `server` is its process id.
    CPU is that of all processes of the worker, and of the server."""
    python = str(environment(peer.package))
    with tempfile.TemporaryDirectory(prefix="peer-") as name, ExitStack() as ends:
        tally = Path(name) / "tally"
        tally.write_bytes(bytes(8))
        environ = os.environ | {
            "PYTHONPATH": str(ROOT), "PEER_URL": url, "PEER_WAY": peer.way, "PEER_TALLY": str(tally),
            "dramatiq_queue_prefetch": "1000", "RUNNEL_TESTING": "0",
        }  # fmt: skip
        subprocess.run([python, "-m", peer.app, str(events)], env=environ, cwd=name, check=True)
        out = ends.enter_context((Path(name) / "out").open("w+b"))
        worker = subprocess.Popen(
            [python, *peer.run], env=environ, cwd=name, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - single-threaded here, and it only calls libc
        )  # fmt: skip
        ends.callback(_end, worker)

        def watched() -> dict[str, list[psutil.Process]]:
            parent = psutil.Process(worker.pid)
            return {"worker": [parent, *parent.children(recursive=True)], "server": [psutil.Process(server)]}

        def ended() -> str | None:
            return None if worker.poll() is None else f"{peer.package} ended:\n{(Path(name) / 'out').read_text()}"

        with tally.open("rb", buffering=0) as counting:
            return window(
                lambda: int.from_bytes(os.pread(counting.fileno(), 8, 0), sys.byteorder), events, watched, ended
            )


@contextmanager
def nats_server() -> Iterator[tuple[str, int]]:
    """A NATS server with JetStream on files, of its own: its URL and process id."""
    program = shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("no nats-server is installed (on Debian: apt-get install nats-server)")
    with tempfile.TemporaryDirectory(prefix="nats-") as directory:
        port = servers.free_port()
        process = subprocess.Popen(
            [program, "-js", "-sd", directory, "-a", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - as above
        )  # fmt: skip
        try:
            wait_until(lambda: _listens(port), message="nats-server to answer")
            yield f"nats://127.0.0.1:{port}", process.pid
        finally:
            _end(process)


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """At once, with all that it started: what it has not finished is wiped before the next round."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
