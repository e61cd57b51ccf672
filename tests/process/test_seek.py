"""`runnelctl seek` on real hosts: events come again or are skipped, with an `up` running and with none."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from runnelctl.core import keys
from tests.process import ups
from tests.process.shop import Shop, in_order
from tests.process.terminal import Terminal
from tests.process.ups import Up
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, app_name: str) -> Shop:
    return Shop(tmp_path, app_name, valkey.url)


def seek(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ups.command(shop.directory, "seek", *arguments)


def twice(once: dict[int, list[int]]) -> dict[int, list[int]]:
    return {partition: numbers * 2 for partition, numbers in once.items()}


def lags(shop: Shop) -> list[int]:
    (processor,) = ups.status(shop.directory)["processors"].values()
    return [partition["lag"] for partition in processor["partitions"]]


def test_a_running_slice_goes_on_from_the_new_place(shop: Shop, start_up: Callable[..., Up]) -> None:
    shop.send(shop.orders(range(40)))
    up = start_up(shop.directory).wait_ready()
    once = in_order(range(40))
    wait_until(lambda: shop.effects() == once)
    wait_until(lambda: lags(shop) == [0] * 4)
    ended = seek(shop, "bill", "--to", "earliest", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("10 events are repeated") == 4
    assert "40 event(s) repeated, 0 skipped" in ended.stderr
    wait_until(lambda: shop.effects() == twice(once))
    shop.send(shop.orders(range(40, 60)))
    later = in_order(range(40, 60))
    wait_until(lambda: shop.effects() == {p: twice(once)[p] + later[p] for p in once})
    wait_until(lambda: lags(shop) == [0] * 4)
    assert up.stop() == 0
    assert "defect" not in up.output


def test_without_an_up_it_is_where_the_next_one_begins(shop: Shop, valkey: Server) -> None:
    ids = shop.send(shop.orders(range(40)))
    assert seek(shop, "bill:1", "--to", "latest", "--yes", "--reason", "old ones").returncode == 0
    assert seek(shop, "bill:2", "--to", ids[22], "--yes").returncode == 0
    assert ups.command(shop.directory, "up", "--drain").returncode == 0
    done = in_order(range(40))
    assert shop.effects() == {0: done[0], 2: [n for n in done[2] if n >= 22], 3: done[3]}
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        first, _ = [fields for _, fields in client.xrange(keys.audit(shop.name))]
    assert (first["what"], first["partition"], first["to"], first["reason"]) == ("seek", "1", "latest", "old ones")
    assert (first["before"], first["after"], first["skipped"]) == ("0-0", ids[37], "10")


def test_a_quarantined_partition_stays_so_unless_it_moves_beyond(shop: Shop, start_up: Callable[..., Up]) -> None:
    ids = shop.send(shop.orders(range(40), bad=[20]))
    start_up(shop.directory).wait_ready()
    wait_until(lambda: len(shop.blocked()) == 1)
    ended = seek(shop, "bill:0", "--to", ids[8], "--yes")
    assert ended.returncode == 0
    assert f"bill:0 is quarantined at event {ids[20]}, and stays so" in ended.stderr
    assert len(shop.blocked()) == 1
    ended = seek(shop, "bill:0", "--to", ids[24], "--yes")
    assert "which this lifts" in ended.stderr
    wait_until(lambda: shop.effects().get(0) == [0, 4, 8, 12, 16, 24, 28, 32, 36])
    assert shop.blocked() == []


def test_moving_beyond_what_halted_a_processor_lets_all_of_it_go_on(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    shop = Shop(
        tmp_path, app_name, valkey.url, policy="HALT", more='  ship: {stream: orders, handler: "handlers:ship"}'
    )
    ids = shop.send(shop.orders(range(40), bad=[4]))
    start_up(shop.directory).wait_ready()
    wait_until(lambda: [each["state"] for each in shop.blocked()] == ["halted"])
    assert seek(shop, "bill:0", "--to", ids[8], "--yes").returncode == 0
    wait_until(lambda: shop.effects() == in_order(range(40), without=[4]))


def test_it_asks_on_a_terminal_and_needs_yes_elsewhere(shop: Shop) -> None:
    shop.send(shop.orders(range(8)))
    ended = seek(shop, "bill", "--to", "latest")
    assert ended.returncode == 2
    assert "--yes" in ended.stderr
    assert "2 events are skipped" in ended.stdout
    for answer, code in (("n\n", 1), ("y\n", 0)):
        terminal = Terminal(shop.directory, "seek", "bill", "--to", "latest", columns=120)
        try:
            terminal.expect("move 4 partitions of bill? [y/N]")
            terminal.type(answer)
            assert terminal.wait() == code
        finally:
            terminal.close()
    ended = seek(shop, "bill", "--to", "latest")
    assert (ended.returncode, ended.stdout.count("stays where it is")) == (0, 4)
    assert "nothing to do" in ended.stderr


def test_what_makes_no_sense_is_refused(shop: Shop) -> None:
    for arguments, said in (
        (("bil", "--to", "latest"), "did you mean 'bill'?"),
        (("bill:9", "--to", "latest"), "0 to 3"),
        (("bill", "--to", "soon"), "--to"),
        (("bill",), "--to"),
    ):
        ended = seek(shop, *arguments, "--yes")
        assert ended.returncode == 2
        assert said in ended.stderr
