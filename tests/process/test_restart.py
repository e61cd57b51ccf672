"""`runnelctl restart` on real hosts: every slice is another process afterwards, and no event is lost or repeated."""

from __future__ import annotations

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

SHIP = '  ship: {stream: orders, handler: "handlers:ship", processes: 1}'


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, app_name: str) -> Shop:
    return Shop(tmp_path, app_name, valkey.url, more=SHIP)


def children(up: Up) -> set[int]:
    return {child.pid for child in psutil.Process(up.pid).children()}


def test_every_slice_of_the_processor_is_replaced_and_no_other(shop: Shop, start_up: Callable[..., Up]) -> None:
    hosts = [start_up(shop.directory).wait_ready(), start_up(shop.directory).wait_ready()]
    before = [children(host) for host in hosts]
    shop.send(shop.orders(range(400)))
    ended = ups.command(shop.directory, "restart", "bill")
    assert ended.returncode == 0, ended.stderr
    assert [line.partition(":")[0] for line in ended.stderr.splitlines()] == [f"{n} of 4" for n in range(1, 5)]
    for host, pids in zip(hosts, before, strict=True):
        assert len(children(host) - pids) == 2, "both slices of bill are new processes"
        assert len(children(host) & pids) == 2, "the keeper and the slice of ship are not"
    wait_until(lambda: shop.effects() == in_order(range(400)))
    assert all(slot["restarts"] == 0 for slot in ups.status(shop.directory)["processors"]["bill"]["partitions"])
    assert [host.stop() for host in hosts] == [0, 0]


def test_a_handler_is_imported_afresh(shop: Shop, start_up: Callable[..., Up]) -> None:
    start_up(shop.directory).wait_ready()
    handlers = shop.directory / "handlers.py"
    handlers.write_text(handlers.read_text().replace('["bill", event', '["new", event'))
    assert ups.command(shop.directory, "restart", "bill").returncode == 0
    shop.send(shop.orders(range(8)))
    wait_until(lambda: shop.effects("new") == in_order(range(8)))


def test_one_that_does_not_come_up_again_ends_it(shop: Shop, start_up: Callable[..., Up]) -> None:
    hosts = [start_up(shop.directory).wait_ready(), start_up(shop.directory).wait_ready()]
    (shop.directory / "handlers.py").write_text("import nothing_of_this_name\n")
    ended = ups.command(shop.directory, "restart", "bill")
    assert ended.returncode == 1
    assert "is gone" in ended.stderr
    wait_until(lambda: sorted(host.process.poll() is None for host in hosts) == [False, True])


def test_nothing_up_is_nothing_to_do(shop: Shop) -> None:
    ended = ups.command(shop.directory, "restart", "bill")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "nothing to restart" in ended.stderr
    assert ups.command(shop.directory, "restart", "bil").returncode == 2
