"""Tasks on real hosts: they run by the clock, a bad one harms no other, and a leader is followed by another."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process import ups
from tests.process.ups import Up
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

JOBS = """
import asyncio, json, os, time

def note(what, **more):
    with open("notes.log", "a") as log:
        log.write(json.dumps({"what": what, "pid": os.getpid(), "host": os.getppid(), **more}) + "\\n")

def warm(): note("warm"); print("warmed up")
async def beat(ctx): note("beat", id=await ctx.send("orders", {"user": "ada"}))
def blocking(ctx): note("blocking", id=ctx.send("orders", {"user": "bob"})); time.sleep(600)
def bad(): note("bad"); raise ValueError("not today")
async def endless(): note("endless"); await asyncio.sleep(600)
def deaf(): note("deaf"); time.sleep(600)

async def freeze():
    note("freeze")
    if os.path.exists("freezing"):
        os.unlink("freezing")
        time.sleep(600)

async def lead(ctx): note("lead", epoch=ctx.epoch, at=time.time())
def first(ctx): note("first", epoch=ctx.epoch)
def bill(event): note("bill", user=event.value["user"])
"""

HEAD = """
name: {name}
redis: {redis}
pythonpath: [.]
lease: {{ttl: 2s}}
streams:
  orders: {{partitions: 2, key: user}}
"""


def make(directory: Path, name: str, redis: str, more: str) -> None:
    ups.project(directory, HEAD.format(name=name, redis=redis) + more, jobs=JOBS)


def notes(directory: Path, what: str) -> list[dict[str, Any]]:
    log = directory / "notes.log"
    found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [each for each in found if each["what"] == what]


def task(directory: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ups.status(directory)["tasks"][name]
    return found


def tasks_process(up: Up) -> psutil.Process:
    found = [child for child in psutil.Process(up.pid).children() if child.name() == "tasks"]
    assert len(found) == 1
    return found[0]


TASKS_ONLY = """
tasks:
  warm: {run: "jobs:warm", on: start}
  beat: {run: "jobs:beat", every: 100ms}
  blocking: {run: "jobs:blocking", on: start}
  bad: {run: "jobs:bad", every: 100ms}
  endless: {run: "jobs:endless", every: 500ms, timeout: 200ms}
  freeze: {run: "jobs:freeze", every: 300ms}
drain: 500ms
"""


def test_tasks_run_and_one_that_misbehaves_harms_no_other(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    make(tmp_path, app_name, valkey.url, TASKS_ONLY)
    checked = ups.command(tmp_path, "check")
    assert (checked.returncode, checked.stdout) == (0, "topology.yaml: ok: 1 stream, 0 processors, 6 tasks\n")
    up = start_up(tmp_path).wait_ready()
    wait_until(lambda: len(notes(tmp_path, "beat")) > 3 and len(notes(tmp_path, "bad")) > 3)
    wait_until(lambda: task(tmp_path, "endless")["failures"] > 1, message="a coroutine to meet its timeout again")
    shown = ups.status(tmp_path)["tasks"]
    assert shown["warm"]["last_outcome"] == "ok" and shown["warm"]["runs"] == 1
    assert shown["bad"]["last_outcome"] == "failed" and shown["bad"]["failures"] > 0
    assert shown["endless"]["last_outcome"] == "timed out"
    assert shown["blocking"]["running_since"] is not None and shown["blocking"]["runs"] == 0
    assert shown["beat"]["schedule"] == "every 0.1s" and shown["beat"]["next"] is not None
    assert shown["beat"]["host"] == ups.status(tmp_path)["hosts"][0]["host"]
    assert "tasks     │ warm: warmed up" in up.output
    assert "tasks     │ bad: ValueError: not today" in up.output and "concurrent/futures" not in up.output
    ended = ups.command(tmp_path, "task", "run", "bad")
    assert ended.returncode == 1 and "ValueError: not today" in ended.stderr
    assert ups.command(tmp_path, "task", "run", "warm").returncode == 0
    refused = ups.command(tmp_path, "task", "run", "blocking")
    assert refused.returncode == 1 and "it runs already" in refused.stderr
    # One that blocks the loop costs the process, with the place where it blocked; then all go on.
    before = tasks_process(up).pid
    (tmp_path / "freezing").touch()
    wait_until(lambda: "the tasks process" in up.output, message="the watchdog")
    beats = len(notes(tmp_path, "beat"))
    wait_until(lambda: len(notes(tmp_path, "beat")) > beats + 2)
    assert "in freeze" in up.output, "it says where the loop was blocked"
    assert tasks_process(up).pid != before
    assert task(tmp_path, "freeze")["failures"] >= 1
    assert len(notes(tmp_path, "warm")) == 2, "on: start ran once, and once when asked"
    assert up.stop() == 0
    assert "did not finish in time" not in up.output or "tasks did not finish" in up.output


def test_a_thread_that_cannot_be_stopped_is_left_behind(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    more = 'tasks:\n  deaf: {run: "jobs:deaf", every: 200ms, timeout: 100ms}\n  beat: {run: "jobs:beat", every: 50ms}\n'
    make(tmp_path, app_name, valkey.url, more)
    up = start_up(tmp_path).wait_ready()
    wait_until(lambda: len({each["pid"] for each in notes(tmp_path, "deaf")}) > 1, message="a second process")
    assert "cannot be stopped" in up.output
    assert task(tmp_path, "deaf")["last_outcome"] == "timed out"
    assert up.stop() == 0


LED = """
processors:
  bill: {stream: orders, handler: "jobs:bill", processes: 1}
tasks:
  first: {run: "jobs:first", on: start, leader: true}
  lead: {run: "jobs:lead", every: 200ms, leader: true}
"""


def test_a_leader_is_followed_by_another_at_once_and_after_its_death(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    make(tmp_path, app_name, valkey.url, LED)
    hosts = {up.pid: up for up in (start_up(tmp_path).wait_ready(), start_up(tmp_path).wait_ready())}

    def leader() -> int:
        found = {each["host"] for each in notes(tmp_path, "lead")[-3:]}
        return found.pop() if len(found) == 1 else 0

    wait_until(lambda: len(notes(tmp_path, "lead")) >= 5)
    assert len({each["host"] for each in notes(tmp_path, "lead")}) == 1, "one host leads"
    old = wait_until(leader)
    assert str(old) in task(tmp_path, "lead")["host"]

    def run_now() -> bool:  # it is refused while the task runs by itself, which it does five times a second
        ended = ups.command(tmp_path, "task", "run", "lead")
        assert f":{old}" in ended.stderr, ended.stderr
        return ended.returncode == 0

    wait_until(run_now)
    assert hosts.pop(old).stop() == 0
    new = wait_until(lambda: leader() if leader() != old else 0, message="the other host to lead")
    hosts[start_up(tmp_path).wait_ready().pid] = up = start_up(tmp_path).wait_ready()
    hosts = {new: hosts[new]}
    assert leader() == new, "who leads goes on, though others came"
    hosts[new].kill()
    wait_until(lambda: leader() not in (0, new, old), message="a third host to lead")
    epochs = [each["epoch"] for each in notes(tmp_path, "lead")]
    assert epochs == sorted(epochs) and len(set(epochs)) == 3
    assert len(notes(tmp_path, "first")) == 3, "on: start, once per leadership"
    assert up.process.poll() is None


def test_a_drain_waits_for_the_lead_unless_another_host_has_it(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    make(tmp_path, app_name, valkey.url, LED)
    (tmp_path / "jobs.py").write_text("import time\ntime.sleep(1)\n" + JOBS)  # longer than there is to drain
    assert ups.command(tmp_path, "up", "--drain").returncode == 0
    assert len(notes(tmp_path, "first")) == 1
    start_up(tmp_path).wait_ready()
    wait_until(lambda: len(notes(tmp_path, "first")) == 2)
    assert ups.command(tmp_path, "up", "--drain").returncode == 0
    assert len(notes(tmp_path, "first")) == 2


def test_a_planned_hand_over_neither_misses_nor_doubles_a_tick(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    more = 'tasks:\n  lead: {run: "jobs:lead", every: 1s, leader: true}\n'
    make(tmp_path, app_name, valkey.url, more)
    one, two = start_up(tmp_path).wait_ready(), start_up(tmp_path).wait_ready()
    wait_until(lambda: len(notes(tmp_path, "lead")) >= 2)
    first = {one.pid: one, two.pid: two}[notes(tmp_path, "lead")[-1]["host"]]
    assert first.stop() == 0
    before = len(notes(tmp_path, "lead"))
    wait_until(lambda: len(notes(tmp_path, "lead")) >= before + 2)
    seconds = [int(each["at"]) for each in notes(tmp_path, "lead")]
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))


def test_with_nothing_up_a_task_runs_in_the_foreground(tmp_path: Path, valkey: Server, app_name: str) -> None:
    make(tmp_path, app_name, valkey.url, LED + '  bad: {run: "jobs:bad", every: 1h}\n')
    ended = ups.command(tmp_path, "task", "run", "lead")
    assert ended.returncode == 0, ended.stderr
    assert notes(tmp_path, "lead")[0]["epoch"] > 0
    ended = ups.command(tmp_path, "task", "run", "bad")
    assert ended.returncode == 1 and "ValueError: not today" in ended.stderr
    ended = ups.command(tmp_path, "task", "run", "leed")
    assert ended.returncode == 2 and "did you mean 'lead'?" in ended.stderr
    listed = json.loads(ups.command(tmp_path, "task", "list", "--json").stdout)
    assert set(listed["tasks"]) == {"first", "lead", "bad"} and listed["tasks"]["lead"]["leader"] is True


def test_a_task_that_cannot_be_loaded_ends_up_with_3(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    make(tmp_path, app_name, valkey.url, 'tasks:\n  a: {run: "jobs:nothing", every: 1s}\n')
    checked = ups.command(tmp_path, "check")
    assert checked.returncode == 2 and "run jobs:nothing: module jobs has no 'nothing'" in checked.stderr
    up = start_up(tmp_path)
    assert up.wait() == 3
    assert "module jobs has no 'nothing'" in up.output


def test_only_names_tasks_too_and_logs_tell_them_apart(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    make(tmp_path, app_name, valkey.url, LED + '  warm: {run: "jobs:warm", on: start}\n')
    ended = ups.command(tmp_path, "up", "--detach", "--wait", "--only", "warm")
    assert ended.returncode == 0, ended.stderr
    try:
        wait_until(lambda: task(tmp_path, "warm")["runs"] == 1)
        assert notes(tmp_path, "lead") == [] and ups.status(tmp_path)["hosts"][0]["slices"] == 0
        shown = ups.command(tmp_path, "logs", "warm")
        assert shown.stdout.splitlines() == ["tasks     │ warm: warmed up"]
        unknown = ups.command(tmp_path, "up", "--only", "wrm")
        assert unknown.returncode == 2 and "no processor or task 'wrm'" in unknown.stderr
    finally:
        assert ups.command(tmp_path, "down").returncode == 0


def test_the_death_of_the_tasks_process_costs_the_run_and_nothing_else(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    make(tmp_path, app_name, valkey.url, LED + '  blocking: {run: "jobs:blocking", on: start}\ndrain: 500ms\n')
    up = start_up(tmp_path).wait_ready()
    wait_until(lambda: notes(tmp_path, "blocking") and notes(tmp_path, "lead"))
    slices = {child.pid for child in psutil.Process(up.pid).children()} - {tasks_process(up).pid}
    epoch = notes(tmp_path, "lead")[-1]["epoch"]
    os.kill(tasks_process(up).pid, signal.SIGKILL)
    wait_until(lambda: task(tmp_path, "blocking")["last_outcome"] == "died")
    wait_until(lambda: notes(tmp_path, "lead")[-1]["epoch"] > epoch)
    assert len(notes(tmp_path, "blocking")) == 1 and len(notes(tmp_path, "first")) == 1, "on: start is not repeated"
    assert slices < {child.pid for child in psutil.Process(up.pid).children()}
    assert up.stop() == 0
