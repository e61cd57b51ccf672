"""Real `runnelctl` processes for tests: hosts that come up, get killed and never outlive the test, and commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runnelctl.runtime import homes
from runnelctl.runtime.homes import Home
from tests import servers
from tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
END_LIMIT_S = 60.0


def project(directory: Path, topology: str, **modules: str) -> Path:
    """Write `topology.yaml` and a module per keyword into `directory`; returns the topology's path."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in modules.items():
        (directory / f"{name}.py").write_text(text)
    file = directory / "topology.yaml"
    file.write_text(topology)
    file.chmod(0o644)
    return file


def environment(**extra: str) -> dict[str, str]:
    """This process's environment with this repository first on the path, no setting of runnelctl but `extra`."""
    # COLUMNS and LINES: readline sets them in pytest's workers, and they would beat a terminal's own size.
    left_out = ("RUNNELCTL_", "REDIS_", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"} | extra


def command(directory: Path, *arguments: str, timeout_s: float = 60, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run `runnelctl` with `arguments` in `directory` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "runnelctl", *arguments],
        cwd=directory, env=environment(**extra), capture_output=True, text=True, timeout=timeout_s, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def status(directory: Path, *arguments: str, **extra: str) -> dict[str, Any]:
    """What `runnelctl status --json` prints in `directory`."""
    ended = command(directory, "status", "--json", *arguments, **extra)
    assert ended.returncode == 0, ended.stderr
    shown: dict[str, Any] = json.loads(ended.stdout)
    return shown


class Up:
    """One `runnelctl up` in the foreground, started in `directory`; what it writes goes to a file there."""

    _count = 0

    def __init__(self, directory: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        Up._count += 1
        self.directory = directory
        self._log = directory / f"up-{Up._count}.out"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runnelctl", "up", *arguments],
                cwd=directory, env=environment(**(env or {})), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - the tests' main thread, and it only calls libc
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The supervisor."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything it and its children have written so far."""
        return self._log.read_text(errors="replace")

    @property
    def home(self) -> Home | None:
        """Its directory below `.runnelctl`; None before it has one, and after it ended well."""
        return next((home for home in homes.found(self.directory) if home.pid == self.pid), None)

    def wait_ready(self, timeout_s: float = 30) -> Up:
        """Return once every slice is ready and the leases are taken; fail with its output if it ends instead."""

        def ready() -> bool:
            assert self.process.poll() is None, f"up ended with {self.process.returncode}"
            home = self.home
            return home is not None and home.ready

        try:
            wait_until(ready, timeout_s, "up to be ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None
        return self

    def wait(self, timeout_s: float = END_LIMIT_S) -> int:
        """Wait for its end; returns the exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"up did not end in {timeout_s} s:\n{self.output}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to drain, and wait; returns the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL for the supervisor, as the kernel or an impatient operator does it; the children die with it."""
        home = self.home
        self.process.kill()
        self.process.wait(END_LIMIT_S)
        if home is not None:
            wait_until(lambda: not home.alive, message="the children of a killed host to end")

    def close(self) -> None:
        """For the end of a test: whatever is left is gone afterwards."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
