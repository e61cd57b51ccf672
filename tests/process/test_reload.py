"""SIGHUP on a real host: what changed is started anew, what did not is not touched, and a mistake changes nothing."""

from __future__ import annotations

import contextlib
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

SHIP = '  ship: {stream: orders, handler: "handlers:ship", processes: 1}\n'
MORE = """
def more(event):
    with open("effects.log", "a") as log:
        log.write(json.dumps(["more", event.partition, event.value["n"]]) + "\\n")

def tick():
    with open("ticks.log", "a") as log:
        log.write(f"{os.getpid()}\\n")
"""
TICK = 'tasks:\n  tick: {run: "handlers:tick", every: 100ms}\n'


def processes(up: Up) -> dict[str, int]:
    """Name -> pid of the children."""
    found = {}
    for child in psutil.Process(up.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it may be on its way out
            found[child.name()] = child.pid
    return found


def reload(up: Up) -> str:
    """Send SIGHUP; returns what was said from then on, once the reload is over."""
    before = len(up.output)
    up.process.send_signal(signal.SIGHUP)
    ends = ("│ reloaded; ", "│ nothing was reloaded")
    wait_until(lambda: any(end in up.output[before:] for end in ends), message="the reload")
    return up.output[before:]


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, app_name: str) -> Shop:
    made = Shop(tmp_path, app_name, valkey.url, more=SHIP + TICK)
    handlers = tmp_path / "handlers.py"
    handlers.write_text(handlers.read_text() + MORE)
    return made


def test_what_changed_is_started_anew_and_nothing_else(shop: Shop, start_up: Callable[..., Up]) -> None:
    up = start_up(shop.directory).wait_ready()
    first = processes(up)
    text = shop.file.read_text()
    shop.send(shop.orders(range(200)))

    said = reload(up)
    assert "nothing here has to be started anew" in said
    kept = {name: pid for name, pid in first.items() if name != "keeper"}
    wait_until(lambda: {name: pid for name, pid in processes(up).items() if name != "keeper"} == kept)

    # bill gets other settings and one process more, ship goes, another comes.
    changed = text.replace("retry: {attempts: 1}", "retry: {attempts: 2}").replace("processes: 2", "processes: 3")
    more = '  more: {stream: orders, handler: "handlers:more", processes: 1}\n'
    shop.file.write_text(changed.replace(SHIP, more))
    said = reload(up)
    assert "new: more; started anew: bill; gone: ship" in said
    wanted = {"keeper", "tasks", "bill.0", "bill.1", "bill.2", "more.0"}
    wait_until(lambda: set(processes(up)) == wanted and processes(up)["bill.0"] != first["bill.0"])
    assert processes(up)["tasks"] == first["tasks"], "the tasks are what they were"
    shop.send(shop.orders(range(200, 400)))
    wait_until(lambda: shop.effects("more") == in_order(range(400)), message="the new processor to catch up")
    wait_until(lambda: shop.effects() == in_order(range(400)), message="bill to go on where it was, in order")
    shown = ups.status(shop.directory)
    assert set(shown["processors"]) == {"bill", "more"}
    wait_until(lambda: {each["slice"] for each in ups.status(shop.directory)["processors"]["bill"]["partitions"]}
               == {"bill.0", "bill.1", "bill.2"}, message="all three to have partitions")  # fmt: skip
    assert shown["hosts"][0]["slices"] == 4

    # Back again: bill shrinks, ship returns and goes on at its cursor, the task changes.
    shop.file.write_text(text.replace("every: 100ms", "every: 50ms"))
    assert "new: ship; started anew: bill, tasks; gone: more" in reload(up)
    wait_until(lambda: set(processes(up)) == {"keeper", "tasks", "bill.0", "bill.1", "ship.0"})
    wait_until(lambda: shop.effects("ship") == in_order(range(400)), message="ship to go on at its cursor")
    ticks = shop.directory / "ticks.log"
    wait_until(lambda: ticks.read_text().splitlines()[-1] == str(processes(up)["tasks"]))
    assert processes(up)["tasks"] != first["tasks"]
    assert up.stop() == 0
    assert shop.effects() == in_order(range(400))


def test_a_mistake_changes_nothing(shop: Shop, start_up: Callable[..., Up]) -> None:
    up = start_up(shop.directory).wait_ready()
    first, text = processes(up), shop.file.read_text()
    for change, word in (
        (("policy: QUARANTINE", "policy: WORSE"), "policy must be HALT, QUARANTINE or IGNORE"),
        (("handlers:ship", "handlers:shop"), "handler handlers:shop: module handlers has no 'shop'"),
        (("partitions: 4", "partitions: 5"), "partitions of stream 'orders' cannot be reloaded"),
        (("ttl: 2s", "ttl: 3s"), "lease.ttl cannot be reloaded"),
        (("name: ", "name: x"), "name cannot be reloaded"),
        (("streams:", "streams"), "topology.yaml:"),
    ):
        shop.file.write_text(text.replace(*change))
        said = reload(up)
        assert word in said and "nothing was reloaded" in said
    assert processes(up) == first
    shop.file.write_text(text)
    shop.send(shop.orders(range(40)))
    wait_until(lambda: shop.effects() == in_order(range(40)))
    assert up.stop() == 0
