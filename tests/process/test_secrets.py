"""The password in the Redis URL is nobody's business: not in output, files, logs, the process list or Redis itself."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from runnelctl.store import connect
from runnelctl.store import endpoint as endpoints
from tests.process.ups import Up, command, project
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

CANARY = "canary-7f3a"
TOPOLOGY = """\
name: shop
redis: ${REDIS_URL}
pythonpath: [.]
streams:
  orders: {partitions: 2, key: id}
processors:
  billing: {stream: orders, handler: "handlers:charge", processes: 1, policy: QUARANTINE, retry: {attempts: 1}}
lease: {ttl: 1s}
"""
HANDLERS = """\
import os

async def charge(event):
    if event.value["id"] == "kill":
        os.abort()
    raise ValueError("no such account")
"""


def test_the_password_is_shown_nowhere(
    tmp_path: Path, start_server: Callable[..., Server], start_up: Callable[..., Up]
) -> None:
    server = start_server("valkey", "--requirepass", CANARY)
    env = {"REDIS_URL": server.tcp_url.replace("redis://", f"redis://:{CANARY}@")}
    project(tmp_path, TOPOLOGY, handlers=HANDLERS)
    commands = (("check",), ("config",), ("config", "--json"), ("send", "orders", '{"id": "other"}', '{"id": "kill"}'),
                ("status", "--json"), ("status", "--once", "--wide"), ("status", "--check"), ("replay", "--dry-run"),
                ("up", "--only", "nobody"))  # fmt: skip
    up = start_up(tmp_path, env=env).wait_ready()
    shown = []
    for arguments in commands:
        ended = command(tmp_path, *arguments, **env)
        shown += [ended.stdout, ended.stderr]
        assert "Traceback" not in ended.stderr
    wait_until(
        lambda: up.output.count("is quarantined") == 2, timeout_s=60, message="a raise and a death to be quarantined"
    )
    family = [psutil.Process(up.pid), *psutil.Process(up.pid).children(recursive=True)]
    shown += [" ".join(each.cmdline()) for each in family]
    server.kill()
    wait_until(lambda: "trying again until it is back" in up.output, message="the outage to be noticed")
    away = command(tmp_path, "status", **env)
    assert away.returncode == 69
    server.start()
    wait_until(lambda: "Redis is back" in up.output, message="its end")
    with connect.client(endpoints.parse(env["REDIS_URL"])) as client:
        stored = [client.dump(key) for key in client.scan_iter()]
    shown += [away.stderr, up.output, *(text.decode("latin-1") for text in stored)]
    # While it runs, so that nothing is cleaned up yet.
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "host.json" for path in files)
    shown += [path.read_text(errors="replace") for path in files]
    assert up.stop(signal.SIGINT) == 0
    assert [text for text in shown if CANARY in text] == []
    assert "***" in "".join(shown), "it was there to be hidden"


def test_a_detached_host_keeps_it_too(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    server = start_server("valkey", "--requirepass", CANARY)
    env = {"REDIS_URL": server.tcp_url.replace("redis://", f"redis://:{CANARY}@")}
    project(tmp_path, TOPOLOGY, handlers=HANDLERS)
    began = command(tmp_path, "up", "--detach", "--wait", **env)
    assert began.returncode == 0, began.stderr
    logs = command(tmp_path, "logs", **env)
    downed = command(tmp_path, "down", **env)
    assert downed.returncode == 0, downed.stderr
    files = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("slice(s)" in text for text in files), "the log is among them"
    shown = [*files, *(end.stdout + end.stderr for end in (began, logs, downed))]
    assert [text for text in shown if CANARY in text] == []
    assert CANARY not in " ".join(str(path) for path in tmp_path.rglob("*"))
