"""The Redis of a run: a primary, a replica where failovers are to come, a proxy before, an observer beside them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from runnelctl.store import endpoint
from runnelctl.store.endpoint import Endpoint
from tests import servers
from tests.chaos import network
from tests.servers import Server
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
#: The password of the run's Redis. It may turn up nowhere in what a run leaves behind.
CANARY = "canary-5d1c9e27b3"
#: Nemeses that need the proxy, the replica, a clock that can be moved.
PROXIED = frozenset({"lose-replies", "half-open", "delay", "split", "hold-requests", "hold-replies", "failover"})
REPLICATED = frozenset({"failover"})
CLOCKED = frozenset({"clock-host", "clock-redis"})
_FAKETIME = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")


def faketime() -> Path | None:
    """libfaketime where it is installed."""
    found = [path for pattern in _FAKETIME for path in sorted(Path("/").glob(pattern[1:]))]
    return found[0] if found else None


def clock_environment(clock: Path) -> dict[str, str]:
    """What makes a process read the offset of its wall clock from a file; its monotonic clock stays as it is."""
    library = faketime()
    assert library is not None, "libfaketime is not installed"
    return {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1",
    }  # fmt: skip


class Backend:
    """`redis` is whoever is the primary; `port` is where hosts and producers connect to."""

    def __init__(
        self, directory: Path, kind: str, names: frozenset[str], address: str, ends: ExitStack, *, observed: bool
    ) -> None:
        binary = servers.binary(kind)
        assert binary is not None, f"no {kind} server is installed"
        self._directory, self._address, self._ends = directory, address, ends
        # appendfsync no: every reply follows its write to the kernel. With everysec a slow disk may hold the write back
        # for two seconds after the reply, and a kill -9 of the server would lose what was acknowledged.
        config = (
            *("--requirepass", CANARY, "--masterauth", CANARY, "--appendfsync", "no", "--bind", address),
            *("--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb"),
        )
        self.clock = directory / "clock.redis"
        environment = None
        if "clock-redis" in names:
            self.clock.write_text("+0\n")
            environment = clock_environment(self.clock)
        self._servers = [Server(binary, *config, environment=environment) for _ in range(1 + bool(names & REPLICATED))]
        for server in self._servers:
            ends.callback(server.close)
            server.start()
        self._proxy: subprocess.Popen[bytes] | None = None
        self._observer: subprocess.Popen[bytes] | None = None
        self.port = self.redis.port
        if names & PROXIED:
            self.port = self._start_proxy()
        if observed:
            self._start_observer()
        if self.replica is not None:
            self._follow(self.replica)

    @property
    def redis(self) -> Server:
        """The primary."""
        return self._servers[0]

    @property
    def endpoint(self) -> Endpoint:
        """Where ours would connect to, past the proxy."""
        return endpoint.parse(f"redis://:{CANARY}@{self._address}:{self.redis.port}/0")

    @property
    def replica(self) -> Server | None:
        return self._servers[1] if len(self._servers) > 1 else None

    def client(self, of: Server | None = None) -> redis.Redis:
        """Past the proxy, for injections and for the last look; the caller closes it."""
        return redis.Redis(unix_socket_path=str((of or self.redis).socket), password=CANARY, socket_timeout=30)

    def loading(self) -> bool:
        """Whether the primary reads its file still."""
        with self.client() as client:
            info: Any = client.info("persistence")
        return bool(info["loading"])

    # --- the proxy and the observer

    def _start_proxy(self) -> int:
        port = network.free_port(self._address)
        command = [
            sys.executable, "-m", "tests.chaos.lossy", self._address, str(port), self._address, str(self.redis.port)
        ]  # fmt: skip
        log = self._ends.enter_context((self._directory / "proxy.out").open("w"))
        self._proxy = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT,
            preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - single-threaded here, and it only calls libc
        )  # fmt: skip
        self._ends.callback(end, self._proxy)
        assert self._proxy.stdout is not None
        assert self._proxy.stdout.readline() == b"listening\n", "the proxy does not start"
        return port

    def proxy(self, order: str) -> None:
        """Switch the proxy; returns once it holds."""
        assert self._proxy is not None and self._proxy.stdin is not None and self._proxy.stdout is not None
        self._proxy.stdin.write(f"{order}\n".encode())
        self._proxy.stdin.flush()
        assert self._proxy.stdout.readline().decode().strip() == order

    def _start_observer(self) -> None:
        path = self._directory / "commits"
        log = self._ends.enter_context((self._directory / "observer.out").open("w"))
        self._observer = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.observer", str(self.redis.socket), "CHAOS_PASSWORD", str(path)],
            stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT, env=os.environ | {"CHAOS_PASSWORD": CANARY},
            preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - as above
        )  # fmt: skip
        self._ends.callback(end, self._observer)
        wait_until(lambda: path.exists() and path.stat().st_size > 0, message="the observer to connect")

    def stop_observing(self) -> None:
        """Let the observer write down what it has heard."""
        if self._observer is not None:
            assert self._observer.stdin is not None
            self._observer.stdin.close()
            self._observer.wait(20)

    # --- losing the newest writes

    def written(self) -> int:
        """How far the primary's writes go, as an offset of its replication."""
        with self.client() as client:
            info: Any = client.info("replication")
        return int(info["master_repl_offset"])

    def follows(self, offset: int) -> bool:
        """Whether the replica follows and has everything up to there: its link may be up while it is seconds behind."""
        assert self.replica is not None
        with self.client(self.replica) as client:
            info: Any = client.info("replication")
        return info.get("master_link_status") == "up" and int(info.get("slave_repl_offset", -1)) >= offset

    def part(self) -> None:
        """Promote the replica while everybody still writes to the old primary. `switch` has to follow, later."""
        with self.client(self.replica) as client:
            client.execute_command("REPLICAOF", "NO", "ONE")

    def switch(self) -> None:
        """The old primary dies, everybody is sent to the new one; the old one comes back as a replica."""
        old, new = self._servers
        old.kill()
        self._servers.reverse()
        self.proxy(f"target {self._address} {new.port}")
        if self._observer is not None:
            assert self._observer.stdin is not None
            self._observer.stdin.write(f"{new.socket}\n".encode())
            self._observer.stdin.flush()
        shutil.rmtree(old.directory / "appendonlydir", ignore_errors=True)
        old.start()
        self._follow(old)

    def _follow(self, replica: Server) -> None:
        with self.client(replica) as client:
            client.execute_command("REPLICAOF", self._address, str(self.redis.port))

    def files(self) -> list[Path]:
        """Everything that the servers wrote."""
        return [path for server in self._servers for path in server.directory.rglob("*") if path.is_file()]

    def newest_file(self) -> Path:
        """The part of the append-only file that is written to now."""
        found = (self.redis.directory / "appendonlydir").glob("*.incr.aof")
        return max(found, key=lambda path: int(path.name.split(".")[-3]))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it if it still runs."""
    if process.poll() is None:
        process.kill()
        process.wait(20)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # it may have been closed with something unsent
                pipe.close()
