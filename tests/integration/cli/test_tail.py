"""`runnelctl tail` on a real server: the last ones, those since, those to come; cursors stay as they are."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runnelctl.core import keys
from runnelctl.store import connect
from runnelctl.store.excerpt import Excerpt
from tests.process import ups
from tests.process.shop import PARTITIONS, USERS, Shop
from tests.process.terminal import Terminal
from tests.servers import Server
from tests.waiting import wait_until


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, app_name: str) -> Shop:
    return Shop(tmp_path, app_name, valkey.url)


def tail(shop: Shop, *arguments: str) -> list[dict[str, Any]]:
    ended = ups.command(shop.directory, "tail", "orders", *arguments)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def numbers(shown: list[dict[str, Any]]) -> list[int]:
    return [each["value"]["n"] for each in shown]


def spread(shop: Shop, valkey: Server, count: int) -> None:
    """Events at 1-0, 2-0, …, over all partitions in turn."""
    with connect.client(valkey.endpoint) as client:
        for n in range(count):
            record = json.dumps({"user": USERS[n % PARTITIONS], "n": n})
            name = keys.events(shop.name, "orders", n % PARTITIONS)
            client.xadd(name, {"data": record, "key": USERS[n % PARTITIONS]}, id=f"{n + 1}-0")


def test_large_records_of_many_partitions_are_not_all_held_at_once(valkey: Server, app_name: str) -> None:
    names = {partition: keys.events(app_name, "orders", partition) for partition in range(12)}
    with connect.client(valkey.endpoint) as client:
        for name in names.values():
            for _ in range(3):
                client.xadd(name, {"data": b"x" * 1024 * 1024})
        excerpt = Excerpt(client, names, lambda _: True)
        tracemalloc.start()
        found = excerpt.last(3)
        _, last_bytes = tracemalloc.get_traced_memory()
        del found
        tracemalloc.reset_peak()
        for _ in excerpt.since((0, 1)):
            pass
        _, since_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert last_bytes < 20 * 1024 * 1024
    assert since_bytes < 33 * 1024 * 1024


def test_the_last_ones_of_all_partitions_in_order(shop: Shop, valkey: Server) -> None:
    assert tail(shop) == []
    spread(shop, valkey, 30)
    assert numbers(tail(shop)) == list(range(20, 30))
    assert numbers(tail(shop, "-n", "3")) == [27, 28, 29]
    assert numbers(tail(shop, "-n", "500")) == list(range(30))
    assert tail(shop, "-n", "0") == []
    (shown,) = tail(shop, "-n", "1")
    assert shown == {
        "id": "30-0", "partition": 1, "key": USERS[1], "timestamp": 30, "headers": {},
        "value": {"user": USERS[1], "n": 29},
    }  # fmt: skip


def test_a_partition_a_key_and_since(shop: Shop, valkey: Server) -> None:
    spread(shop, valkey, 30)
    assert numbers(tail(shop, "--partition", "2", "-n", "2")) == [22, 26]
    assert numbers(tail(shop, "--key", USERS[3], "-n", "2")) == [23, 27]
    assert tail(shop, "--key", "nobody") == []
    assert numbers(tail(shop, "--since", "21-0")) == list(range(20, 30))
    assert numbers(tail(shop, "--since", "20-1")) == list(range(20, 30))
    assert numbers(tail(shop, "--since", "0-0")) == list(range(30))
    assert numbers(tail(shop, "--since", "21-0", "-n", "2")) == [28, 29]
    assert tail(shop, "--since", "10m") == []


def test_pages_do_not_show(shop: Shop, valkey: Server) -> None:
    shop.send(shop.orders(range(3_000)))
    by_partition: dict[int, list[int]] = {}
    for each in tail(shop, "--since", "1h"):
        by_partition.setdefault(each["partition"], []).append(each["value"]["n"])
    assert by_partition == {p: list(range(p, 3_000, PARTITIONS)) for p in range(PARTITIONS)}
    name = keys.events(shop.name, "orders", 1)
    with connect.client(valkey.endpoint) as client:  # a foreign sender whose key is rare in its partition
        client.xadd(name, {"data": "{}", "key": "rare"})
        shop.send([{"user": USERS[1], "n": n} for n in range(3_000)])
    assert [each["key"] for each in tail(shop, "--partition", "1", "--key", "rare")] == ["rare"]


def test_it_touches_nothing(shop: Shop, valkey: Server) -> None:
    shop.send(shop.orders(range(8)))
    with connect.client(valkey.endpoint) as client:
        before = {name: client.dump(name) for name in client.scan_iter(f"*{shop.name}*")}
        assert len(tail(shop)) == 8
        assert {name: client.dump(name) for name in client.scan_iter(f"*{shop.name}*")} == before


def test_follow_shows_what_comes_and_ends_with_ctrl_c(shop: Shop) -> None:
    shop.send(shop.orders(range(8)))
    out = shop.directory / "tail.out"
    with out.open("wb") as written:
        following = subprocess.Popen(
            [sys.executable, "-m", "runnelctl", "tail", "orders", "-f", "-n", "2"],
            cwd=shop.directory, env=ups.environment(), stdin=subprocess.DEVNULL, stdout=written, stderr=written,
        )  # fmt: skip
    try:
        wait_until(lambda: out.read_text().count("\n") == 2)
        shop.send(shop.orders(range(100, 108)))
        wait_until(lambda: out.read_text().count("\n") == 10)
        shown = [json.loads(line) for line in out.read_text().splitlines()]
        assert sorted(numbers(shown[2:])) == list(range(100, 108))
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 0
    finally:
        following.kill()
        following.wait()


def test_follow_goes_on_after_an_outage(tmp_path: Path, app_name: str, start_server: Callable[..., Server]) -> None:
    server = start_server("valkey")
    shop = Shop(tmp_path, app_name, server.url)
    shop.send(shop.orders(range(4)))
    out, said = tmp_path / "tail.out", tmp_path / "tail.err"
    with out.open("wb") as written, said.open("wb") as errors:
        following = subprocess.Popen(
            [sys.executable, "-m", "runnelctl", "tail", "orders", "-f"],
            cwd=tmp_path, env=ups.environment(), stdin=subprocess.DEVNULL, stdout=written, stderr=errors,
        )  # fmt: skip
    try:
        wait_until(lambda: out.read_text().count("\n") == 4)
        server.stop()
        wait_until(lambda: "going on when it is back" in said.read_text())
        server.start()
        shop.send(shop.orders(range(4, 8)))
        wait_until(lambda: out.read_text().count("\n") == 8)
        shown = numbers([json.loads(line) for line in out.read_text().splitlines()])
        assert sorted(shown) == list(range(8)), "nothing twice, nothing left out"
    finally:
        following.kill()
        following.wait()


def test_on_a_terminal_a_line_is_as_wide_as_it(shop: Shop) -> None:
    ids = shop.send([{"user": USERS[2], "n": 1, "note": "x" * 500}])
    terminal = Terminal(shop.directory, "tail", "orders", columns=70)
    try:
        assert terminal.wait() == 0
        (line,) = terminal.written.splitlines()
        assert f"  2  {ids[0]}  {USERS[2]}  {{" in line
        assert len(line) == 70
    finally:
        terminal.close()


def test_a_wrong_stream_partition_or_moment_is_a_sentence(shop: Shop) -> None:
    for arguments, said in (
        (("order",), "'orders'"),
        (("orders", "--partition", "4"), "0 to 3"),
        (("orders", "--since", "yesterday"), "--since"),
    ):
        ended = ups.command(shop.directory, "tail", *arguments)
        assert ended.returncode == 2
        assert said in ended.stderr
