"""`runnelctl bench`: figures as data, and nothing left behind, whatever ends it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runnelctl.store import connect
from tests.process.ups import command, environment, project
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process
TOPOLOGY = """\
name: shop
redis: {redis}
streams: {{orders: {{partitions: 2, key: id}}}}
processors: {{billing: {{stream: orders, handler: "m:f"}}}}
"""
SHORT = ("--events", "3000", "--seconds", "1", "--rate", "300", "--partitions", "4")


def test_it_measures_beside_the_raw_loop_and_leaves_a_users_server_as_it_was(
    tmp_path: Path, valkey_own: Server
) -> None:
    project(tmp_path, TOPOLOGY.format(redis=valkey_own.url))
    with connect.client(valkey_own.endpoint) as client:
        client.xadd("{shop:orders:0}:events", {"data": "{}"})
        ended = command(tmp_path, "bench", "topology.yaml", "--json", *SHORT)
        assert ended.returncode == 0, ended.stderr
        assert client.keys("*") == [b"{shop:orders:0}:events"]
    found = json.loads(ended.stdout)
    for section, figure in (("send", "events_per_s"), ("drain", "slice_mib"), ("latency", "p99_ms")):
        assert found[section]["runnelctl"][figure] > 0
    assert found["drain"]["raw"]["events_per_s"] > 0
    assert found["latency"]["raw"]["p50_ms"] > 0
    assert "draining" in ended.stderr


def test_ctrl_c_leaves_nothing(tmp_path: Path, valkey_own: Server) -> None:
    project(tmp_path, TOPOLOGY.format(redis=valkey_own.url))
    bench = subprocess.Popen(
        [sys.executable, "-m", "runnelctl", "bench", "topology.yaml", *SHORT, "--seconds", "60"],
        cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with connect.client(valkey_own.endpoint) as client:
        wait_until(lambda: client.keys("{bench-*}:members"), 60, "its own up to run")
        bench.send_signal(signal.SIGINT)
        assert bench.wait(60) != 0
        assert client.keys("*") == []
    assert not list(tmp_path.glob("runnelctl-bench-*"))
