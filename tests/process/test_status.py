"""`runnelctl status` beside real hosts: what runs, what fails, what is killed, and a live view that outlives Redis."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import servers
from tests.process.terminal import Terminal
from tests.process.ups import Up, command, environment, project, status
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TOPOLOGY = """\
name: {name}
redis: {redis}
pythonpath: [.]
streams:
  orders: {{partitions: 4, key: id}}
processors:
  billing: {{stream: orders, handler: "handlers:charge", processes: 2, policy: QUARANTINE, retry: {{attempts: 1}}}}
lease: {{ttl: 1s}}
"""
HANDLERS = """\
async def charge(event):
    if event.value.get("bad"):
        raise ValueError("no such account")
"""


@pytest.fixture
def place(valkey: Server, app_name: str, tmp_path: Path) -> Path:
    """A directory with a topology on the shared server."""
    project(tmp_path, TOPOLOGY.format(name=app_name, redis=valkey.url), handlers=HANDLERS)
    return tmp_path


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def opener(directory: Path, *arguments: str, **size: int) -> Terminal:
        opened.append(Terminal(directory, *arguments, **size))
        return opened[-1]

    yield opener
    for each in opened:
        each.close()


def send(directory: Path, *records: dict[str, Any]) -> None:
    sent = command(directory, "send", "orders", *map(json.dumps, records))
    assert sent.returncode == 0, sent.stderr


def partitions(shown: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shown["processors"]["billing"]["partitions"]
    return found


def until(directory: Path, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What `status --json` shows once `holds` is true of it."""
    seen: list[dict[str, Any]] = []

    def look() -> bool:
        seen[:] = [status(directory)]
        return holds(seen[0])

    wait_until(look, message="status to show it")
    return seen[0]


def test_a_host_at_work(place: Path, app_name: str, valkey: Server, start_up: Callable[..., Up]) -> None:
    up = start_up(place).wait_ready()
    send(place, *({"id": f"u{number}"} for number in range(100)))
    shown = until(place, lambda shown: sum(each["processed"] for each in partitions(shown)) == 100)
    assert (shown["schema_version"], shown["topology"], shown["redis"]) == (1, app_name, valkey.url)
    (host,) = shown["hosts"]
    assert (host["pid"], host["slices"], host["beating"]) == (up.pid, 2, True)
    assert host["host"].endswith(f":{up.pid}")
    children = {child.pid for child in psutil.Process(up.pid).children()}
    for number, each in enumerate(partitions(shown)):
        assert (each["partition"], each["state"], each["lag"], each["lag_ms"]) == (number, "running", 0, 0)
        assert (each["host"], each["failed"], each["restarts"], each["error"]) == (host["host"], 0, 0, None)
        assert each["pid"] in children
        assert each["slice"] in ("billing.0", "billing.1")
        assert each["epoch"] > 1_600_000_000_000
        assert each["p99_ms"] > 0
    ended = command(place, "status", "--check")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_quarantined_partition_is_the_first_row_and_fails_the_check(place: Path, start_up: Callable[..., Up]) -> None:
    start_up(place).wait_ready()
    send(place, {"id": "u1", "bad": True}, {"id": "u1"})
    shown = until(place, lambda shown: shown["processors"]["billing"]["state"] == "quarantined")
    (bad,) = (each for each in partitions(shown) if each["state"] == "quarantined")
    assert (bad["lag"], bad["host"], bad["error"]["type"]) == (2, None, "ValueError")
    assert (bad["error"]["message"], bad["error"]["key"], bad["error"]["attempts"]) == ("no such account", "u1", 1)
    assert bad["lag_ms"] > 0
    until(place, lambda shown: sum(each["failed"] for each in partitions(shown)) == 1)
    ended = command(place, "status", "--check")
    assert ended.returncode == 1
    event = bad["error"]["event"]
    assert ended.stdout == (
        f"billing:{bad['partition']} quarantined: ValueError: no such account (event {event}); 2 waiting\n"
    )
    table = command(place, "status").stdout.splitlines()
    assert table[4].startswith("PROCESSOR")
    assert table[5].split()[:3] == ["billing", str(bad["partition"]), "quarantined"]
    assert table[5].endswith(f"ValueError: no such account (event {event})")


def test_a_killed_slice_shows_as_a_restart(place: Path, start_up: Callable[..., Up]) -> None:
    start_up(place).wait_ready()
    victim = partitions(until(place, lambda shown: all(each["pid"] for each in partitions(shown))))[0]
    os.kill(victim["pid"], signal.SIGKILL)

    def restarted(shown: dict[str, Any]) -> bool:
        # Its partition may stay with the slice that stood in for it, and another come in exchange.
        found = [each for each in partitions(shown) if each["slice"] == victim["slice"]]
        return bool(found) and all(
            each["restarts"] == 1 and each["pid"] not in (None, victim["pid"]) and each["state"] == "running"
            for each in found
        )

    until(place, restarted)


def test_a_killed_host_is_silent_then_its_partitions_are_unowned_until_another_takes_them(
    place: Path, start_up: Callable[..., Up]
) -> None:
    up = start_up(place).wait_ready()
    send(place, {"id": "u1"})
    until(place, lambda shown: sum(each["processed"] for each in partitions(shown)) == 1)
    up.kill()
    shown = until(place, lambda shown: shown["processors"]["billing"]["state"] == "unowned")
    (host,) = shown["hosts"]
    assert (host["pid"], host["beating"]) == (up.pid, False)
    assert host["beat_age_ms"] > 1_000
    assert {each["host"] for each in partitions(shown)} == {host["host"]}
    table = command(place, "status")
    assert f"{host['host']} silent for" in table.stdout
    assert table.stderr.startswith("nothing is up: runnelctl up ")
    ended = command(place, "status", "--check")
    assert ended.returncode == 1
    assert ended.stdout.startswith(f"billing:0-3 unowned: {host['host']} is silent for ")
    heir = start_up(place).wait_ready()
    shown = until(place, lambda shown: shown["processors"]["billing"]["state"] == "running")
    assert [host["pid"] for host in shown["hosts"]] == [heir.pid]


def test_nothing_is_up(place: Path) -> None:
    send(place, {"id": "u1"})
    ended = command(place, "status", "topology.yaml")
    assert ended.returncode == 0
    assert ended.stderr == "nothing is up: runnelctl up topology.yaml\n"
    assert "4 unowned  lag 1  rate 0" in ended.stdout
    ended = command(place, "status", "--check")
    assert (ended.returncode, ended.stdout) == (1, "billing:0-3 unowned: no host has it; 1 waiting\n")
    ended = command(place, "status", "--check", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["hosts"] == []


def test_an_embedded_server_is_started_if_need_be(tmp_path: Path, app_name: str) -> None:
    project(tmp_path, TOPOLOGY.format(name=app_name, redis="embedded"), handlers=HANDLERS)
    ended = command(tmp_path, "status")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{app_name}  embedded\nno host is up\n4 unowned")


@pytest.mark.parametrize("flags", [[], ["--check"], ["--json"], ["--watch"]])
def test_redis_is_down(tmp_path: Path, app_name: str, flags: list[str]) -> None:
    url = f"redis://:secret@127.0.0.1:{servers.free_port()}"
    project(tmp_path, TOPOLOGY.format(name=app_name, redis=url), handlers=HANDLERS)
    ended = command(tmp_path, "status", *flags)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (69, "", 1)
    assert "refuses the connection" in ended.stderr
    assert "secret" not in ended.stderr


@pytest.mark.parametrize("other", ["--once", "--check"])
def test_what_goes_on_cannot_end(place: Path, other: str) -> None:
    ended = command(place, "status", "--watch", other)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert other in ended.stderr


def test_a_line_of_json_per_second_until_interrupted(place: Path) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "runnelctl", "status", "--watch", "--json"],
        cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        assert first["at"] < second["at"]
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=20)
        assert (watching.returncode, err) == (0, "")
        assert all(json.loads(line)["schema_version"] == 1 for line in out.splitlines())
    finally:
        watching.kill()
        watching.wait()


def test_the_live_view_outlives_an_outage_and_leaves_the_terminal_as_it_was(
    valkey_own: Server, app_name: str, tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    project(tmp_path, TOPOLOGY.format(name=app_name, redis=valkey_own.url), handlers=HANDLERS)
    shown = terminal(tmp_path, "status")
    before = shown.settings
    at = shown.expect("4 unowned")
    assert shown.settings != before  # q is read without a newline
    valkey_own.pause()
    at = shown.expect("Redis does not answer since ", at)
    valkey_own.resume()
    wait_until(lambda: "does not answer" not in shown.written.rpartition("\x1b[H")[2], message="a fresh picture")
    valkey_own.kill()
    at = shown.expect("Redis does not answer since ", len(shown.written))
    valkey_own.start()
    wait_until(lambda: "does not answer" not in shown.written.rpartition("\x1b[H")[2], message="a fresh picture")
    shown.type("q")
    assert shown.wait() == 0
    assert shown.settings == before
    written = shown.written
    assert "\x1b[?1049h" in written
    left = written.rpartition("\x1b[?1049l")[2]
    assert "4 unowned" in left, "the last picture stays"
    assert "Traceback" not in written


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_live_view_and_mend_the_terminal(
    place: Path, terminal: Callable[..., Terminal], number: signal.Signals
) -> None:
    shown = terminal(place, "status", "--watch")
    before = shown.settings
    shown.expect("4 unowned")
    wait_until(lambda: shown.settings != before)
    shown.process.send_signal(number)
    assert shown.wait() == (0 if number == signal.SIGINT else 143)
    assert shown.settings == before
    assert shown.written.rindex("\x1b[?1049l") > shown.written.rindex("\x1b[?1049h")
    assert "Traceback" not in shown.written


@pytest.mark.parametrize(("columns", "lines"), [(20, 5), (1, 1), (80, 24), (200, 50)])
def test_once_fits_the_terminal(place: Path, terminal: Callable[..., Terminal], columns: int, lines: int) -> None:
    shown = terminal(place, "status", "--once", columns=columns, lines=lines)
    assert shown.wait() == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.written.replace("\r", ""))
    table = plain.partition("nothing is up")[0].splitlines()
    assert len(table) < lines or (not table and lines == 1)
    assert all(len(line) <= columns for line in table)
    assert lines == 1 or "billing" in plain
