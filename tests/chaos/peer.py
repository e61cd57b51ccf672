"""The same checker on Runnel 0.1.0b1, which runnelctl learned from: a worker that is stopped beyond its lock's expiry.

    python -m tests.chaos.peer [--python PATH]

Installs Runnel into an environment of its own (it needs Python 3.7 or 3.8), starts two workers, stops one for three
times its lock's expiry, and lets the points about order, repeats and owners judge the handlers' file. One call per
partition that was under way at the stop is excused, as for us. Exits 0 if the checker finds two owners, 1 if not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests import servers
from tests.chaos import history, points
from tests.chaos.backend import end
from tests.chaos.history import History
from tests.servers import Server
from tests.waiting import wait_until

_EXPIRY_S = 2.0
_EVENTS = 6_000
_POINTS = ("order", "repeats", "epochs", "overlap")


def python_of(given: str | None) -> str:
    """A Python that Runnel runs on. Exits with a sentence if there is none."""
    versions = map(str, Path.home().glob(".pyenv/versions/3.8*/bin/python"))
    candidates = [given] if given else ["python3.8", "python3.7", *versions]
    for candidate in candidates:
        found = shutil.which(candidate)
        if found and subprocess.run([found, "-c", "import venv"], check=False, capture_output=True).returncode == 0:
            return found
    sys.exit("no Python 3.7 or 3.8 here, which Runnel 0.1.0b1 needs; name one with --python")


def installed(python: str, directory: Path, *what: str) -> Path:
    """An environment with what pip is told to install; returns its python."""
    subprocess.run([python, "-m", "venv", str(directory)], check=True)
    inside = directory / "bin" / "python"
    subprocess.run([str(inside), "-m", "pip", "install", "-q", *what], check=True)
    return inside


def history_of(inside: Path, directory: Path, server: Server) -> History:
    """Two workers, one of them stopped for a while; what their handlers wrote."""
    effects = directory / "effects"
    environment = os.environ | {
        "PEER_REDIS": server.tcp_url, "PEER_EFFECTS": str(effects), "RUNNEL_TESTING": "0",
        "PYTHONPATH": str(directory),
    }  # fmt: skip
    app = Path(shutil.copy(Path(__file__).with_name("runnel_app.py"), directory))

    def handled() -> int:
        return effects.read_bytes().count(b"\n") if effects.exists() else 0

    of = History(ttl_ns=int(_EXPIRY_S * 1e9))
    with ExitStack() as ends:
        workers = []
        for _ in range(2):
            out = ends.enter_context((directory / "workers.out").open("ab"))
            worker = subprocess.Popen(
                [str(inside), "-m", "runnel", "worker", "runnel_app:app"],
                cwd=directory, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - single-threaded here, and it only calls libc
            )  # fmt: skip
            ends.callback(end, worker)
            workers.append(worker)
        time.sleep(3 * _EXPIRY_S)  # until both have their share; nothing tells from outside
        subprocess.run([str(inside), str(app), str(_EVENTS)], cwd=directory, env=environment, check=True)
        wait_until(lambda: handled() > 400, 30, "the first events to be handled")
        begin = time.monotonic_ns()
        workers[0].send_signal(signal.SIGSTOP)
        time.sleep(3 * _EXPIRY_S)
        workers[0].send_signal(signal.SIGCONT)
        action = {"nemesis": "stop-worker", "at": begin, "end": time.monotonic_ns(), "paused": [workers[0].pid]}
        before = handled()
        time.sleep(3 * _EXPIRY_S)
        print(f"{before:,} of {_EVENTS:,} events handled when the stopped worker went on, {handled():,} at the end")
    of.actions = [action]
    of.effects = [history._effect(line.split()) for line in effects.read_text().splitlines()]
    return of


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.peer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", help="a Python 3.7 or 3.8")
    parser.add_argument("--environment", type=Path, help="where Runnel is installed, to save the installation")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="runnel-") as name:
        directory = Path(name)
        inside = given.environment / "bin" / "python" if given.environment else installed(
            python_of(given.python), directory / "environment", "runnel==0.1.0b1"
        )  # fmt: skip
        binary = servers.binary("redis") or servers.binary("valkey")
        assert binary is not None, "no server is installed"
        server = Server(binary)
        server.start()
        try:
            of = history_of(inside, directory, server)
        finally:
            server.close()
    found = {point: list(points.POINTS[point](of)) for point in _POINTS}
    for point, sentences in found.items():
        print(f"{point:10}{len(sentences):6} violations{'; the first: ' + sentences[0] if sentences else ''}")
    return 0 if found["epochs"] or found["overlap"] else 1


if __name__ == "__main__":
    sys.exit(main())
