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
from tests.chaos import mutation, network
from tests.chaos.backend import CANARY, CLOCKED, ROOT, Backend, clock_environment, end
from tests.chaos.network import Network
from tests.servers import Server
from tests.waiting import wait_until

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
    {policy_lines}
    retry: {{attempts: 3, backoff: 20ms}}
    timeout: {timeout_ms}ms
    max_memory: 240MiB
    {order_lines}
    {batch_lines}
    commit: {{every: 100ms, events: {commit_events}}}
  echo:
    stream: echoes
    handler: tests.chaos.relay:{echo_handler}
    {batch_lines}
    processes: 1
    policy: IGNORE
    dead_letter: true
    retry: {{attempts: 3, backoff: 20ms}}
    timeout: {timeout_ms}ms
    commit: {{every: 100ms, events: {commit_events}}}
lease: {{ttl: {ttl_ms}ms}}
drain: 10s
"""


PROCESSORS = {"sink": "events", "echo": "echoes"}
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
    park: bool = False  # what fails parks its key, and is mended and replayed some time later
    order: str = "partition"  # or key, with so many handlers at once
    concurrency: int = 4
    batch: int = 0  # so many events in a call, at most; 0: the handlers take them one by one
    sleep_ms: float = 1.0  # of the first stage's handler
    aftermath_ttls: float = 2.0  # how long an injection keeps others from counting as recoveries of their own
    observed: bool = True  # whether MONITOR is read, for the points about the fence
    warm_events: int = 200  # handled before the first injection
    settle_s: float = 90.0  # for everything to be handled in the end
    mutant: str = ""  # a deliberate defect, see mutation.py


@dataclass(slots=True)
class Host:
    """One `up` and where it runs. `asked_at`: when it was told to end, or killed; its end is no surprise then. `says`:
    the file with its output, and where in there it begins."""

    name: str
    number: int
    process: subprocess.Popen[bytes]
    started: float
    says: tuple[Path, int]
    asked_at: float | None = None

    @property
    def asked(self) -> bool:
        return self.asked_at is not None

    @property
    def begun(self) -> bool:
        """Whether it has been let in by Redis; what then goes wrong must not end it any more."""
        path, since = self.says
        with path.open("rb") as file:
            file.seek(since)
            return b"partitions to own" in file.read()

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
        self.package = ROOT
        self._clocked = False
        self._mended = directory / "mended"
        self.over = False  # the time for injections
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
        if options.mutant:
            self.package = mutation.made(options.mutant, self.directory / "mutant")
        names = frozenset(options.nemeses)
        self.backend = Backend(
            self.directory, options.server, names, address, self._ends, observed=options.observed
        )  # fmt: skip
        self._clocked = bool(names & CLOCKED)
        self.url = f"redis://:{CANARY}@{address}:{self.backend.port}/0"
        self.topology = self.directory / "topology.yaml"
        order = f"order: key\n    concurrency: {options.concurrency}" if options.order == "key" else "order: partition"
        policy = "policy: IGNORE\n    dead_letter: true"
        if options.park:
            policy = "policy: QUARANTINE\n    scope: key\n    max_parked: {events: 1000000, size: 256MiB}"
        batch, echo = "", "echo"
        if options.batch:
            batch, echo = f"batch: {{size: {options.batch}, within: 5ms}}", "echo_batch"
        self.topology.write_text(
            TOPOLOGY.format(
                root=ROOT, order_lines=order, policy_lines=policy, echo_handler=echo, batch_lines=batch,
                **asdict(options),
            )
        )  # fmt: skip
        self._ends.callback(self._end_processes)

    # --- writing down

    def note(self, file: str, **fields: Any) -> None:
        """A JSON line into one of the run's files."""
        out = self._files.get(file)
        if out is None:
            out = self._files[file] = self._ends.enter_context((self.directory / file).open("a"))
        out.write(json.dumps(fields) + "\n")
        out.flush()

    # --- Redis

    @property
    def streams(self) -> dict[str, int]:
        """Stream -> partitions."""
        return {"events": self.options.partitions, "echoes": self.options.echo_partitions}

    @property
    def redis(self) -> Server:
        """The primary."""
        return self.backend.redis

    def client(self) -> redis.Redis:
        """Past the proxy, for injections and for the last look; the caller closes it."""
        return self.backend.client()

    def proxy(self, order: str) -> None:
        """Switch the proxy; returns once it holds."""
        self.backend.proxy(order)

    def clock(self, name: str) -> Path:
        """The file that says how far the wall clock of a host is off."""
        return self.directory / f"clock.{name}"

    def mend(self) -> None:
        """Whatever went wrong with an event that Redis has now goes well when it is tried again."""
        with contextlib.closing(self.client()) as client:
            last = {}
            for partition in range(self.options.partitions):
                info: Any = client.xinfo_stream(f"{{chaos:events:{partition}}}:events")
                last[partition] = info["last-generated-id"].decode()
        new = self._mended.with_suffix(".new")
        new.write_text(json.dumps(last))
        new.replace(self._mended)

    # --- hosts

    def environment(self, host: str) -> dict[str, str]:
        """Of a host, or of a producer or an operator."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNNELCTL_", "REDIS_"))}
        if self._clocked and host not in ("producer", "operator"):
            self.clock(host).write_text("+0\n")
            kept |= clock_environment(self.clock(host))
        return kept | {
            "CHAOS_REDIS_URL": self.url,
            "CHAOS_EFFECTS": str(self.directory / "effects"),
            "CHAOS_HOST": host,
            "CHAOS_RUN": self.run_id,
            "CHAOS_MENDED": str(self._mended),
            "CHAOS_SLEEP_S": str(self.options.sleep_ms / 1000),
            "PYTHONPATH": f"{self.package}:{ROOT}",
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            "RUNNELCTL_DIR": str(self.directory / "homes" / host),
        }

    def up(self, name: str, number: int) -> Host:
        """Start a host; `number` says in whose network. Only from the main thread: it dies with the thread."""
        enter = self.network.enter(number) if self.network is not None else []
        (self.directory / "homes" / name).mkdir(parents=True, exist_ok=True)
        path = self.directory / f"up.{name}.out"
        with path.open("ab") as out:
            begin = out.tell()
            process = subprocess.Popen(
                [*enter, sys.executable, "-m", "runnelctl", "up", str(self.topology)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.directory, env=self.environment(name),
                preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - single-threaded here, and it only calls libc
            )  # fmt: skip
        self.hosts[name] = Host(name, number, process, time.monotonic(), (path, begin))
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
        young = (host.asked_at or time.monotonic()) - host.started < _START_LIMIT_S or not host.begun
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
                command, stdin=subprocess.PIPE, stdout=out, stderr=out, cwd=self.directory,
                env=self.environment("producer"),
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
            end(process)
        # Only what carries this run's mark, should anything have outlived its host.
        for pid in self.ours():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_until(lambda: not self.ours(), message="what the run started to end")
