"""`start: spawn`: fresh interpreters, and the same promises: order, nothing lost, no child that outlives its host."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.process import ups
from tests.process.shop import Shop, in_order
from tests.process.ups import Up
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TICK = """tasks:
  tick: {run: "handlers:tick", every: 100ms}
start: spawn
"""
MORE = """
def tick():
    open("ticked", "w").close()
"""


def test_a_host_of_fresh_interpreters_takes_kills_and_leaves_nothing_behind(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    shop = Shop(tmp_path, app_name, valkey.url, more=TICK)
    # More than one attempt: an event that is in the handler of a process that somebody kills pays for it.
    shop.file.write_text(shop.file.read_text().replace("attempts: 1", "attempts: 3"))
    handlers = tmp_path / "handlers.py"
    handlers.write_text(handlers.read_text() + MORE)
    up = start_up(tmp_path).wait_ready()
    first = {child.name(): child for child in psutil.Process(up.pid).children()}
    assert set(first) == {"keeper", "tasks", "bill.0", "bill.1"}
    assert all("runnelctl.runtime.spawned" in child.cmdline() for child in first.values())
    wait_until((tmp_path / "ticked").exists)
    shop.send(shop.orders(range(200)))
    for name in ("bill.0", "keeper", "tasks"):
        os.kill(first[name].pid, signal.SIGKILL)
    shop.send(shop.orders(range(200, 400)))
    wait_until(lambda: all(set(numbers) == set(in_order(range(400))[partition])
                           for partition, numbers in shop.effects().items()) and len(shop.effects()) == 4)  # fmt: skip
    for numbers in shop.effects().values():
        assert sorted(set(numbers)) == list(dict.fromkeys(numbers)), "in order; what a kill cut off may be repeated"
    up.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "│ reloaded; " in up.output)
    wait_until(lambda: {child.name() for child in psutil.Process(up.pid).children()} == set(first))
    children = psutil.Process(up.pid).children()
    up.kill()
    wait_until(lambda: not any(child.is_running() for child in children), message="the children to die with their host")


def test_up_start_goes_before_the_file_and_a_drain_ends_well(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    shop = Shop(tmp_path, app_name, valkey.url)
    shop.send(shop.orders(range(40)))
    ended = ups.command(tmp_path, "up", "--start", "spawn", "--drain")
    assert ended.returncode == 0, ended.stderr
    assert shop.effects() == in_order(range(40))
    (tmp_path / "handlers.py").write_text("import nothing_of_this_name\n")
    ended = ups.command(tmp_path, "up", "--start", "spawn")
    assert ended.returncode == 3 and "No module named 'nothing_of_this_name'" in ended.stderr
