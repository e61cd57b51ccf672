"""Ctrl-C, kill, nohup, a shell that dies: what a stop means, and what does not stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from runnelctl.runtime import homes
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
  orders: {{partitions: 1, key: id}}
processors:
  billing: {{stream: orders, handler: "handlers:{handler}", processes: 1}}
lease: {{ttl: 2s}}
"""
#: A handler that is in the middle until a file says that it may end.
HANDLERS = """\
import asyncio, os, time

async def coroutine(event):
    open("begun", "w").close()
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    open("ended", "w").close()

def function(event):
    open("begun", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
    open("ended", "w").close()
"""


@pytest.fixture(params=["coroutine", "function"])
def place(request: pytest.FixtureRequest, valkey: Server, app_name: str, tmp_path: Path) -> Path:
    """A project with one event, whose handler waits for the file `go`."""
    text = TOPOLOGY.format(name=app_name, redis=valkey.url, handler=request.param)
    project(tmp_path, text, handlers=HANDLERS)
    assert command(tmp_path, "send", "orders", '{"id": 1}').returncode == 0
    return tmp_path


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def opener(directory: Path, *arguments: str) -> Terminal:
        opened.append(Terminal(directory, *arguments))
        return opened[-1]

    yield opener
    for each in opened:
        each.close()


def lag(directory: Path) -> int:
    found: int = status(directory)["processors"]["billing"]["partitions"][0]["lag"]
    return found


def begun(directory: Path) -> None:
    wait_until((directory / "begun").exists, message="the handler to begin")


def test_ctrl_c_lets_the_handler_finish(place: Path, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(place, "up")
    begun(place)
    shown.type("\x03")  # the terminal itself signals the whole foreground group
    shown.expect("SIGINT: draining, at most 30 s; once more forces")
    assert not (place / "ended").exists()
    (place / "go").touch()
    assert shown.wait() == 0
    assert (place / "ended").exists()
    assert lag(place) == 0, "its cursor is committed"
    assert "Traceback" not in shown.written
    assert "KeyboardInterrupt" not in shown.written


def test_ctrl_c_twice_forces(place: Path, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(place, "up")
    begun(place)
    children = psutil.Process(shown.process.pid).children()
    shown.type("\x03")
    shown.expect("draining")
    shown.type("\x03")
    shown.expect("once more: killing what is left")
    assert shown.wait() == 130
    assert not any(child.is_running() for child in children)
    assert not (place / "ended").exists()
    assert lag(place) == 1, "the event will be handled again"
    assert "Traceback" not in shown.written


@pytest.mark.parametrize("twice", [False, True])
def test_sigterm_does_the_same(place: Path, start_up: Callable[..., Up], twice: bool) -> None:
    up = start_up(place)
    begun(place)
    up.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "SIGTERM: draining" in up.output)
    if twice:
        up.process.send_signal(signal.SIGTERM)
    else:
        (place / "go").touch()
    assert up.wait() == (130 if twice else 0)
    assert lag(place) == int(twice)


def test_sighup_is_harmless(place: Path, start_up: Callable[..., Up]) -> None:
    up = start_up(place)
    begun(place)
    up.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "SIGHUP: " in up.output)
    (place / "go").touch()
    wait_until(lambda: lag(place) == 0)
    assert up.stop() == 0


@pytest.mark.parametrize("nohup", [False, True])
def test_a_shell_that_dies_takes_nothing_with_it(place: Path, nohup: bool) -> None:
    """Started from a shell with `&`; the shell is killed and its terminal hangs up."""
    master, slave = os.openpty()
    line = f"{'nohup ' if nohup else ''}{sys.executable} -m runnelctl up & wait"
    with (place / "shell.out").open("wb") as out:
        shell = subprocess.Popen(
            ["setsid", "--ctty", "sh", "-c", line],
            cwd=place, env=environment(), stdin=slave, stdout=out, stderr=out,
        )  # fmt: skip
    os.close(slave)
    up: psutil.Process | None = None
    try:
        begun(place)
        (home,) = homes.found(place)
        up = psutil.Process(home.pid)
        shell.kill()
        shell.wait()
        os.close(master)
        (place / "go").touch()
        wait_until(lambda: lag(place) == 0)
        assert up.is_running()
        up.terminate()
        wait_until(lambda: not home.alive)
    finally:
        if up is not None and up.is_running():
            up.kill()
