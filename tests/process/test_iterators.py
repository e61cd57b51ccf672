"""Iterator handlers and middleware in real slices: their end, their failures, and what `check` says of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.ups import Up, command, project, status
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TOPOLOGY = """\
name: {name}
redis: {redis}
pythonpath: [.]
streams:
  orders: {{partitions: 2, key: k}}
  totals: {{partitions: 1, key: k}}
processors:
  watch:
    stream: orders
    handler: handlers:watch
    processes: 1
    policy: QUARANTINE
    dead_letter: true
    retry: {{attempts: 2, backoff: 1ms}}
    timeout: 3s
    middleware: [handlers:evens, handlers:told]
"""

HANDLERS = """\
import asyncio, os, time

def say(*words):
    with open("said", "a") as file:
        print(*words, file=file)

async def evens(events):
    async for event in events:
        if event.value["n"] % 2 == 0:
            yield event

def told(event, ctx):
    try:
        yield
    except BaseException as error:
        say("told", event.value["n"], type(error).__name__)
        raise

async def watch(events, ctx):
    count = 0
    try:
        async for event in events:
            n = event.value["n"]
            count += 1
            say("took", n, event.attempt)
            if n == 10 and not os.path.exists("mended"):
                raise ValueError("ten")
            if n == 20 and not os.path.exists("mended"):
                time.sleep(30)
            if n == 30:
                say("waiting")
                while not os.path.exists("go"):
                    await asyncio.sleep(0.01)
                say("went on")
            ctx.emit("totals", {"k": event.key, "n": n, "count": count})
        say("after the loop")
    finally:
        say("finally", count)
"""


def said(directory: Path) -> list[str]:
    file = directory / "said"
    return file.read_text().splitlines() if file.exists() else []


def state_of(directory: Path) -> set[str]:
    return {each["state"] for each in status(directory)["processors"]["watch"]["partitions"]}


def send(directory: Path, *numbers: int) -> None:
    records = [json.dumps({"k": "a", "n": number}) for number in numbers]
    assert command(directory, "send", "orders", *records).returncode == 0


def test_an_iterator_s_life(start_up: Callable[..., Up], valkey: Server, app_name: str, tmp_path: Path) -> None:
    """One host: turns, a dropped event, a failure with its middleware, a timeout, `replay`, a drain amid a turn."""
    project(tmp_path, TOPOLOGY.format(name=app_name, redis=valkey.url), handlers=HANDLERS)
    up = start_up(tmp_path).wait_ready()
    send(tmp_path, 1, 2, 3, 4, 10)
    wait_until(lambda: "quarantined" in state_of(tmp_path), message="the policy")
    assert said(tmp_path) == [
        "took 2 1", "took 4 1", "took 10 1", "finally 3", "told 10 ValueError",
        "took 10 2", "finally 1", "told 10 ValueError",
    ]  # fmt: skip
    shown = command(tmp_path, "replay", "watch", "--dry-run").stdout
    assert "ValueError" in shown and "ten" in shown

    send(tmp_path, 20)
    assert command(tmp_path, "replay", "watch", "--skip", "--yes").returncode in (0, 1)
    wait_until(lambda: "ProcessDied" in json.dumps(status(tmp_path)), message="the timeouts to be charged")
    assert [line for line in said(tmp_path) if line.startswith("took 20")] == ["took 20 1", "took 20 2"]

    (tmp_path / "mended").touch()
    assert command(tmp_path, "replay", "watch", "--yes").returncode == 0
    send(tmp_path, 30, 40)
    wait_until(lambda: "waiting" in said(tmp_path), message="the turn of 30")
    up.process.terminate()
    wait_until(lambda: "draining" in up.output.lower() or "stopping" in up.output.lower(), message="the drain")
    (tmp_path / "go").touch()
    assert up.wait() == 0
    assert said(tmp_path)[-4:-1] == ["waiting", "went on", "after the loop"]
    assert said(tmp_path)[-1].startswith("finally ")
    totals = command(tmp_path, "tail", "totals", "-n", "50", "--json").stdout
    numbers = [json.loads(line)["value"]["n"] for line in totals.splitlines()]
    assert numbers == [2, 4, 20, 30], "each turn once, and 40 waits for the next host"


def test_check_tells_forms_and_middleware(tmp_path: Path) -> None:
    handlers = "async def watch(events): ...\ndef evens(event): ...\nasync def told(events): yield\n"
    project(tmp_path, TOPOLOGY.format(name="x", redis="embedded"), handlers=handlers)
    checked = command(tmp_path, "check")
    assert checked.returncode == 2
    assert (
        "topology.yaml:10:14: warning: handler handlers:watch: watch is taken for the iterator form" in checked.stderr
    )
    assert "topology.yaml:16:18: middleware handlers:evens: it yields nothing: a middleware is" in checked.stderr
