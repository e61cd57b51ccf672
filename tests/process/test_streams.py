"""Output that nobody reads, or that has no room: pipes that close, streams that are closed, 20 columns."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.mistakes import HANDLERS, TOPOLOGY
from tests.process.terminal import Terminal
from tests.process.ups import command, environment, project
from tests.servers import Server

pytestmark = pytest.mark.process


@pytest.fixture
def place(valkey: Server, app_name: str, tmp_path: Path) -> Path:
    project(tmp_path, TOPOLOGY.format(name=app_name, redis=valkey.url), handlers=HANDLERS)
    return tmp_path


@pytest.fixture
def narrow(place: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def opener(*arguments: str) -> Terminal:
        opened.append(Terminal(place, *arguments, columns=20, lines=8))
        return opened[-1]

    yield opener
    for each in opened:
        each.close()


def shell(directory: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which `runnelctl` is ours; the exit code is that of the first command of a pipe."""
    script = f'set -o pipefail; runnelctl() {{ "{sys.executable}" -m runnelctl "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    ["status --once", "status --json", "schema", "config", "--help", "up --help", "send orders '{\"id\": 1}'", "check"],
)
def test_a_pipe_that_closes_is_no_error(place: Path, arguments: str) -> None:
    ended = shell(place, f"runnelctl {arguments} | head -c 0")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams(place: Path, closed: str) -> None:
    for line, code in (
        ("send orders '{\"id\": 1}'", 0),
        ("up --drain", 0),
        ("status --once", 0),
        ("check", 0),
        ("send orders nope", 1),
        ("up nowhere.yaml", 2),
    ):
        ended = shell(place, f"runnelctl {line} {closed}")
        assert ended.returncode == code, (line, ended.stderr)
        assert "Traceback" not in ended.stderr


def test_a_reader_of_up_that_leaves_does_not_stop_it(place: Path) -> None:
    assert command(place, "send", "orders", '{"id": 1}').returncode == 0
    ended = shell(place, "runnelctl up --drain 2>&1 | head -n 1")
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("status", "--once"), 0, "billing"),
        (("up", "--drain"), 0, "everything is handled"),
        (("send", "orders", '{"id": 1}'), 0, "sent 1 record"),
        (("send", "orders", "nope"), 1, "not JSON"),
        (("check",), 0, "ok: 1 stream, 1 processor"),
        (("check", "nowhere.yaml"), 2, "no such file"),
        (("--help",), 0, "status"),
        (("up", "--help"), 0, "--drain"),
        (("send", "--help"), 0, "--on-invalid"),
        (("config",), 0, "partitions"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_twenty_columns(narrow: Callable[..., Terminal], arguments: tuple[str, ...], code: int, says: str) -> None:
    shown = narrow(*arguments)
    assert shown.wait(60) == code, shown.written
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.written.replace("\r", ""))
    assert says in plain
    assert "Traceback" not in plain
    assert len(plain) < 20_000
