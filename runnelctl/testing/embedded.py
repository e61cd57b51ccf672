"""A topology that is really up, for a test: processes, and an embedded server in a directory of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from runnelctl.client import connect_sync

COMMAND_LIMIT_S = 120
PASS_LIMIT_S = 60.0


class Running:
    """One `runnelctl up` of `file`, started in `directory`. The environment says which server it uses."""

    def __init__(self, file: Path, directory: Path) -> None:
        self.file, self.directory = file, directory

    def start(self, *arguments: str) -> Self:
        """`runnelctl up --detach --wait`. Raises AssertionError with its words if that fails."""
        self.command("up", str(self.file), "--detach", "--wait", *arguments)
        return self

    def stop(self) -> None:
        """`runnelctl down`, whatever state it is in."""
        self.command("down", str(self.file), check=False)

    def command(self, *arguments: str, check: bool = True) -> str:
        """Run `runnelctl` in the directory; what it prints. Raises AssertionError if it fails and `check` is set."""
        ended = subprocess.run(
            [sys.executable, "-m", "runnelctl", *arguments], cwd=self.directory, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=COMMAND_LIMIT_S, check=False,
        )  # fmt: skip
        if check and ended.returncode:
            said = ended.stdout + ended.stderr
            raise AssertionError(f"runnelctl {' '.join(arguments)} exited {ended.returncode}:\n{said}\n{self.log()}")
        return ended.stdout

    def log(self) -> str:
        """What its processes have written."""
        return self.command("logs", "-t", str(self.file), check=False)

    def send(self, stream: str, *records: Any) -> None:
        """Send records with a client."""
        with connect_sync(self.file) as client:
            client.send_many(stream, list(records))

    def status(self) -> dict[str, Any]:
        """What `runnelctl status --json` says."""
        found: dict[str, Any] = json.loads(self.command("status", str(self.file), "--json"))
        return found

    def state(self, processor: str, key: str) -> Any:
        """`ctx.state` of a key as committed."""
        with connect_sync(self.file) as client:
            return client.state(processor, key)

    def records(self, stream: str) -> list[Any]:
        """The records of a stream, in the order in which they came."""
        lines = self.command("tail", stream, "-t", str(self.file), "--json", "-n", "100000").splitlines()
        return [json.loads(line).get("value") for line in lines]

    def wait_passed(self, processors: Iterable[str] | None = None, timeout_s: float = PASS_LIMIT_S) -> Self:
        """Wait until every event is passed, but for those of partitions that a policy has stopped. Raises
        AssertionError after `timeout_s`."""
        until = time.monotonic() + timeout_s
        wanted = None if processors is None else set(processors)
        while True:
            found = self.status()["processors"]
            waiting = [
                f"{name}:{each['partition']} is {each['state']} with a lag of {each['lag']}"
                for name, about in found.items()
                if wanted is None or name in wanted
                for each in about["partitions"]
                if each["lag"] and each["state"] not in ("quarantined", "halted", "paused")
            ]
            if not waiting:
                return self
            if time.monotonic() > until:
                raise AssertionError(f"not passed after {timeout_s:g} s: {'; '.join(waiting)}\n{self.log()}")
            time.sleep(0.05)
