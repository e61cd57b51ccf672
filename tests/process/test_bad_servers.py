"""Servers and disks that can't be trusted with events: refused with a sentence, and nothing stored is lost."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.process.fakes import FakeRedis
from tests.process.mistakes import HANDLERS, TOPOLOGY, Case, meet
from tests.process.ups import Up, environment, project
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

UP_SEND = (("up",), ("send", "orders", '{"id": 2}'))
LOOK = ("status", "--once")
FAKES = [
    ("too old", {"redis_version": "6.2.14"}, "", Case("old", (("up",),), 1, ("Redis 6.2.14 is too old; Redis 7.0",))),
    ("too old to send", {}, "-ERR Error compiling script (new function): unexpected symbol near '#'",
     Case("old", UP_SEND[1:], 1, ("older than Redis 7.0",))),
    ("too old, Valkey", {"valkey_version": "7.1.0"}, "", Case("old", (("up",),), 1, ("Valkey 7.1.0 is too old",))),
    ("a Sentinel", {"redis_mode": "sentinel"}, "", Case("sentinel", (("up",),), 1, ("it is a Sentinel",))),
    ("a cluster", {"cluster_enabled": "1"}, "", Case("cluster", (("up",),), 1, ("cluster mode",))),
    ("protected", {}, "-DENIED Redis is running in protected mode",
     Case("protected", (*UP_SEND, LOOK), 69, ("protected mode",))),
    ("loading", {}, "-LOADING Redis is loading the dataset", Case("loading", (*UP_SEND, LOOK), 69, ("still loading",))),
    ("not Redis", {}, "HTTP/1.1 400 Bad Request", Case("http", (*UP_SEND, LOOK), 69, ("is not Redis",))),
]  # fmt: skip


@pytest.mark.parametrize(("info", "reply", "case"), [each[1:] for each in FAKES], ids=[each[0] for each in FAKES])
def test_servers_that_will_not_do(info: dict[str, str], reply: str, case: Case, tmp_path: Path) -> None:
    with FakeRedis(info, reply) as fake:
        project(tmp_path, TOPOLOGY.format(name="shop", redis=fake.url), handlers=HANDLERS)
        meet(tmp_path, case, lambda: None)


REAL = [
    ("full", ("--maxmemory", "1"), "", Case("full", UP_SEND, 1, ("is full: used memory is above maxmemory",))),
    ("evicts", ("--maxmemory-policy", "allkeys-lru"), "",
     Case("evicts", (("up",),), 1, ("maxmemory-policy allkeys-lru may evict",))),
    ("needs a password", ("--requirepass", "canary"), "",
     Case("password", (*UP_SEND, LOOK), 69, ("needs a password",))),
    ("wrong password", ("--requirepass", "canary"), ":canary2@",
     Case("password", (*UP_SEND, LOOK), 69, ("refuses the user name or password",))),
    ("no password", (), ":canary@",
     Case("password", (*UP_SEND, LOOK), 69, ("has no password set, but the URL names one",))),
    ("down", (), "", Case("down", (*UP_SEND, LOOK), 69, ("refuses the connection; is the server running there?",))),
    ("a replica", ("--replicaof", "127.0.0.1", "1"), "", Case("replica", UP_SEND, 1, ("replica", "name the primary"))),
]  # fmt: skip


@pytest.mark.parametrize(("config", "login", "case"), [each[1:] for each in REAL], ids=[each[0] for each in REAL])
def test_servers_that_refuse(
    config: tuple[str, ...], login: str, case: Case, tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    server = start_server("valkey", *config, appendonly=False)
    url = server.tcp_url.replace("redis://", f"redis://{login}")
    if case.name == "down":
        server.kill()
    project(tmp_path, TOPOLOGY.format(name="shop", redis=url), handlers=HANDLERS)
    meet(tmp_path, case, lambda: None)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk(tmp_path: Path, stored: Callable[[], Any]) -> None:
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", tiny], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (tiny / "fill").touch()
        with pytest.raises(OSError, match="No space left"):
            (tiny / "fill").write_bytes(bytes(1 << 20))
        env = {"RUNNELCTL_DIR": str(tiny)}
        says = (str(tiny), "No space left on device", "make room")
        meet(tmp_path, Case("home", (("up",),), 1, says, env=env), stored)
        embedded = Case("embedded", UP_SEND, 69, ("embedded server", "the disk is full: make room"), env=env)
        meet(tmp_path, dataclasses.replace(embedded, edit=(("redis: ", "redis: embedded #"),)), stored)
        with Path("/dev/full").open("wb") as out:
            full = subprocess.run([sys.executable, "-m", "runnelctl", "schema"], cwd=tmp_path, env=environment(),
                                  check=False, stdout=out, stderr=subprocess.PIPE, text=True)  # fmt: skip
        assert (full.returncode, full.stderr) == (1, "runnelctl: cannot write: No space left on device\n")
    finally:
        subprocess.run(["umount", tiny], check=True)


def test_a_server_that_begins_to_evict_under_way_is_told(
    start_server: Callable[..., Server], tmp_path: Path, app_name: str
) -> None:
    server = start_server("valkey")
    project(
        tmp_path,
        f"name: {app_name}\nredis: {server.url}\npythonpath: [.]\nstreams: {{s: {{partitions: 1}}}}\n"
        "processors: {p: {stream: s, handler: mine:handle}}\n",
        mine="async def handle(event): ...\n",
    )
    up = Up(tmp_path).wait_ready()
    try:
        with redis.Redis(unix_socket_path=str(server.socket)) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            wait_until(lambda: "maxmemory-policy was changed to allkeys-lru" in up.output, 30, "the warning")
        assert up.stop() == 0
    finally:
        up.close()
