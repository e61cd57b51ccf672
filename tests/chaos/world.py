"""What a run breaks: Redis, a proxy before it, hosts, producers; and the files in which everything is written down."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import redis

from tests import servers
from tests.chaos import network
from tests.chaos.network import Network
from tests.servers import Server
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
#: The password of the run's Redis. It may turn up nowhere in what a run leaves behind.
CANARY = "canary-5d1c9e27b3"

TOPOLOGY = """
name: chaos
redis: ${{CHAOS_REDIS_URL}}
pythonpath: ["{root}"]
streams:
  events: {{partitions: {partitions}, key: key, capacity: 1000000}}
  echoes: {{partitions: {echo_partitions}, key: key, capacity: 1000000}}
processors:
  sink:
    stream: events
    handler: tests.chaos.relay:{handler}
    processes: {slices}
    policy: IGNORE
    dead_letter: true
    retry: {{attempts: 3, backoff: 20ms}}
    timeout: {timeout_ms}ms
    max_memory: 240MiB
    commit: {{every: 100ms, events: {commit_events}}}
  echo:
    stream: echoes
    handler: tests.chaos.relay:echo
    processes: 1
    policy: IGNORE
    dead_letter: true
    retry: {{attempts: 3, backoff: 20ms}}
    timeout: {timeout_ms}ms
    commit: {{every: 100ms, events: {commit_events}}}
lease: {{ttl: {ttl_ms}ms}}
drain: 10s
"""


_START_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A run as it was asked for; `judge` reads it back."""

    seed: int
    minutes: float
    hosts: int = 2
    server: str = "valkey"
    nemeses: tuple[str, ...] = ()
    netns: bool = False
    handler: str = "relay"
    partitions: int = 16
    echo_partitions: int = 4
    slices: int = 2
    producers: int = 2
    keys: int = 1_000
    rate: float = 600.0
    pace_s: float = 3.0  # between injections, on average
    commit_events: int = 100
    ttl_ms: int = 2_000
    timeout_ms: int = 4_000


@dataclass(slots=True)
class Host:
    """One `up` and where it runs. `asked_at`: when it was told to end, or killed; its end is no surprise then."""

    name: str
    number: int
    process: subprocess.Popen[bytes]
    started: float
    asked_at: float | None = None

    @property
    def asked(self) -> bool:
        return self.asked_at is not None

    def ask(self) -> None:
        """To be called before anything that makes it end."""
        self.asked_at = time.monotonic()


class World:
    """A context manager: everything that it started is gone afterwards."""

    def __init__(self, options: Options, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.ttl_s = options.ttl_ms / 1000
        self.random = random.Random(options.seed)
        self.run_id = secrets.token_hex(8)
        self.hosts: dict[str, Host] = {}
        self.network: Network | None = None
        self.claims: set[str] = set()
        self.trouble_at = 0.0  # when something was last broken that a starting host can't do without
        self._ends = ExitStack()
        self._files: dict[str, IO[str]] = {}
        self.producers: list[subprocess.Popen[bytes]] = []
        self._proxy: subprocess.Popen[bytes] | None = None
        self._storms = 0

    def __enter__(self) -> World:
        try:
            self._make()
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def _make(self) -> None:
        options, address = self.options, "127.0.0.1"
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "options.json").write_text(json.dumps(asdict(options)))
        if options.netns:
            self.network = self._ends.enter_context(network.made(options.hosts))
            address = self.network.address
        binary = servers.binary(options.server)
        assert binary is not None, f"no {options.server} server is installed"
        # appendfsync no: every reply follows its write to the kernel. With everysec a slow disk may hold the write back
        # for two seconds after the reply, and a kill -9 of the server would lose what was acknowledged.
        config = ("--requirepass", CANARY, "--appendfsync", "no", "--bind", address)
        self.redis = Server(binary, *config)
        self._ends.callback(self.redis.close)
        self.redis.start()
        port = self.redis.port
        if any(name in PROXIED for name in options.nemeses):
            port = self._start_proxy(address)
        self.url = f"redis://:{CANARY}@{address}:{port}/0"
        self.topology = self.directory / "topology.yaml"
        self.topology.write_text(TOPOLOGY.format(root=ROOT, **asdict(options)))
        self._ends.callback(self._end_processes)

    def _start_proxy(self, address: str) -> int:
        port = network.free_port(address)
        command = [sys.executable, "-m", "tests.chaos.lossy", address, str(port), address, str(self.redis.port)]
        log = self._ends.enter_context((self.directory / "proxy.out").open("w"))
        self._proxy = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT,
            preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - single-threaded here, and it only calls libc
        )  # fmt: skip
        self._ends.callback(_end, self._proxy)
        assert self._proxy.stdout is not None
        assert self._proxy.stdout.readline() == b"listening\n", "the proxy does not start"
        return port

    # --- writing down

    def note(self, file: str, **fields: Any) -> None:
        """A JSON line into one of the run's files."""
        out = self._files.get(file)
        if out is None:
            out = self._files[file] = self._ends.enter_context((self.directory / file).open("a"))
        out.write(json.dumps(fields) + "\n")
        out.flush()

    # --- Redis

    def client(self) -> redis.Redis:
        """Past the proxy, for injections and for the last look; the caller closes it."""
        return redis.Redis(unix_socket_path=str(self.redis.socket), password=CANARY, socket_timeout=30)

    def proxy(self, mode: str) -> None:
        """Switch the proxy; returns once it holds."""
        assert self._proxy is not None and self._proxy.stdin is not None and self._proxy.stdout is not None
        self._proxy.stdin.write(f"{mode}\n".encode())
        self._proxy.stdin.flush()
        assert self._proxy.stdout.readline().decode().strip() == mode

    # --- hosts

    def _environment(self, host: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNNELCTL_", "REDIS_"))}
        return kept | {
            "CHAOS_REDIS_URL": self.url,
            "CHAOS_EFFECTS": str(self.directory / "effects"),
            "CHAOS_HOST": host,
            "CHAOS_RUN": self.run_id,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            "RUNNELCTL_DIR": str(self.directory / "homes" / host),
        }

    def up(self, name: str, number: int) -> Host:
        """Start a host; `number` says in whose network. Only from the main thread: it dies with the thread."""
        enter = self.network.enter(number) if self.network is not None else []
        (self.directory / "homes" / name).mkdir(parents=True, exist_ok=True)
        with (self.directory / f"up.{name}.out").open("ab") as out:
            process = subprocess.Popen(
                [*enter, sys.executable, "-m", "runnelctl", "up", str(self.topology)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.directory, env=self._environment(name),
                preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - single-threaded here, and it only calls libc
            )  # fmt: skip
        self.hosts[name] = Host(name, number, process, time.monotonic())
        self.note("hosts.jsonl", at=time.monotonic_ns(), what="up", host=name, pid=process.pid)
        return self.hosts[name]

    def visitor(self) -> Host:
        """A host that only comes by."""
        self._storms += 1
        return self.up(f"s{self._storms}", self._storms % self.options.hosts)

    def ended(self, host: Host) -> bool:
        """Whether it ended; then it is written down, and judged: who was not asked must not go."""
        code = host.process.poll()
        if code is None:
            return False
        # One that started while Redis was out of reach says so and ends; that is its contract.
        young = (host.asked_at or time.monotonic()) - host.started < _START_LIMIT_S
        excused = young and self.trouble_at >= host.started - 1 and code in (1, 69)
        # SIGTERM before it has begun anything just ends it.
        early = (-signal.SIGTERM,) if young else ()
        fair = code in ((0, -signal.SIGKILL, *early) if host.asked else ()) or excused
        self.note(
            "hosts.jsonl", at=time.monotonic_ns(), what="end", host=host.name, pid=host.process.pid, code=code,
            asked=host.asked, fair=fair,
        )  # fmt: skip
        del self.hosts[host.name]
        return True

    def watch(self) -> None:
        """Take note of hosts that ended; the steady ones start again."""
        if self.claims:
            self.trouble_at = time.monotonic()
        for host in list(self.hosts.values()):
            if f"host:{host.name}" not in self.claims and self.ended(host) and host.name.startswith("h"):
                self.up(host.name, host.number)

    def processes(self, host: Host, kind: str = "", *, of_host: bool = False) -> list[psutil.Process]:
        """Live children of a host whose name begins with `kind`; with `of_host` its supervisor, too."""
        pid = host.process.pid
        try:
            # Of one thread, as a supervisor has; psutil would walk through every process of the machine.
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return []
        found = [psutil.Process(pid)] if of_host else []
        for child in children:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(int(child))
                if process.name().startswith(kind) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def ours(self) -> list[int]:
        """Every live process that carries this run's mark, whoever its parent is now."""
        mark, found = f"CHAOS_RUN={self.run_id}".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except (OSError, ValueError):
                continue
        return found

    # --- producers

    def start_producers(self) -> None:
        options = self.options
        for number in range(options.producers):
            out = self._ends.enter_context((self.directory / f"producer.{number}.out").open("w"))
            command = [
                sys.executable, "-m", "tests.chaos.producer", str(self.topology),
                str(self.directory / f"intents.{number}"), "--number", str(number), "--of", str(options.producers),
                "--keys", str(options.keys), "--rate", str(options.rate / options.producers),
                "--seed", str(options.seed),
            ]  # fmt: skip
            producer = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=out, cwd=ROOT, env=self._environment("producer"),
                preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - as above
            )  # fmt: skip
            self.producers.append(producer)

    def order(self, what: str) -> None:
        """Tell a producer something."""
        stdin = self.random.choice(self.producers).stdin
        assert stdin is not None
        stdin.write(f"{what}\n".encode())
        stdin.flush()

    def stop_producers(self, timeout_s: float) -> list[int | None]:
        """Let them finish what is open; their exit codes."""
        for producer in self.producers:
            assert producer.stdin is not None
            producer.stdin.close()
        until = time.monotonic() + timeout_s
        codes: list[int | None] = []
        for producer in self.producers:
            try:
                codes.append(producer.wait(max(0.1, until - time.monotonic())))
            except subprocess.TimeoutExpired:
                codes.append(None)
        return codes

    # --- the end

    def _end_processes(self) -> None:
        for process in (*self.producers, *(host.process for host in self.hosts.values())):
            _end(process)
        # Only what carries this run's mark, should anything have outlived its host.
        for pid in self.ours():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_until(lambda: not self.ours(), message="what the run started to end")


#: Nemeses that need the proxy.
PROXIED = frozenset({"lose-replies", "half-open", "delay", "split", "hold-requests", "hold-replies"})


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait(20)
