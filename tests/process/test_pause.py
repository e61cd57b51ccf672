"""`runnelctl pause` and `resume` on real hosts: at once, everywhere, and over restarts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from runnelctl.core import keys
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


def run(shop: Shop, *arguments: str, code: int = 0) -> str:
    ended = ups.command(shop.directory, *arguments)
    assert ended.returncode == code, ended.stderr
    return ended.stderr


def states(shop: Shop, processor: str = "bill") -> list[str]:
    partitions = ups.status(shop.directory)["processors"][processor]["partitions"]
    return [partition["state"] for partition in partitions]


def owners(shop: Shop, valkey: Server) -> list[str]:
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        return [client.hget(keys.own(shop.name, "orders", number, "bill"), "owner") or "" for number in range(4)]


def test_every_host_lets_go_at_once_and_takes_it_again(shop: Shop, valkey: Server, start_up: Callable[..., Up]) -> None:
    hosts = [start_up(shop.directory).wait_ready(), start_up(shop.directory).wait_ready()]
    assert "as soon as the event in hand is done" in run(shop, "pause", "bill", "--reason", "a deploy")
    wait_until(lambda: owners(shop, valkey) == [""] * 4)
    shop.send(shop.orders(range(40)))
    wait_until(lambda: shop.effects("ship") == in_order(range(40)))
    assert shop.effects() == {}
    shown = ups.status(shop.directory)["processors"]["bill"]
    assert shown["state"] == "paused"
    assert {row["state"] for row in shown["partitions"]} == {"paused"}
    assert all(row["why"].endswith("a deploy") and row["lag"] == 10 for row in shown["partitions"])
    assert ups.command(shop.directory, "status", "--check").returncode == 0, "it is no problem, somebody wants it"
    assert "paused already" in run(shop, "pause", "bill")
    run(shop, "resume", "bill")
    wait_until(lambda: shop.effects() == in_order(range(40)))
    assert states(shop) == ["running"] * 4
    assert [host.stop() for host in hosts] == [0, 0]


def test_one_partition_and_over_a_restart(shop: Shop, valkey: Server, start_up: Callable[..., Up]) -> None:
    up = start_up(shop.directory).wait_ready()
    run(shop, "pause", "bill:2")
    wait_until(lambda: owners(shop, valkey)[2] == "")
    assert up.stop() == 0
    shop.send(shop.orders(range(40)))
    start_up(shop.directory).wait_ready()
    done = in_order(range(40))
    wait_until(lambda: shop.effects() == {p: done[p] for p in (0, 1, 3)})
    assert states(shop) == ["running", "running", "paused", "running"]
    run(shop, "pause", "bill")
    assert "the whole of bill is paused" in run(shop, "resume", "bill:2", code=1)
    run(shop, "resume", "bill")
    wait_until(lambda: shop.effects() == done)
    assert "not paused" in run(shop, "resume", "bill")
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        lines = [fields for _, fields in client.xrange(keys.audit(shop.name))]
    assert [(line["what"], line["partition"]) for line in lines] == [("pause", "2"), ("pause", ""), ("resume", "")]


def test_the_event_in_hand_is_finished_and_committed(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    shop = Shop(tmp_path, app_name, valkey.url)
    (tmp_path / "handlers.py").write_text(
        "import json, os, time\n"
        "def bill(event):\n"
        "    open('began', 'w').close()\n"
        "    while not os.path.exists('go'):\n"
        "        time.sleep(0.01)\n"
        "    with open('effects.log', 'a') as log:\n"
        "        log.write(json.dumps(['bill', event.partition, event.value['n']]) + '\\n')\n"
    )
    shop.send(shop.orders(range(0, 20, 4)))
    start_up(tmp_path).wait_ready()
    wait_until((tmp_path / "began").exists)
    run(shop, "pause", "bill")
    wait_until(lambda: owners(shop, valkey)[1:] == [""] * 3)
    assert owners(shop, valkey)[0] != ""
    (tmp_path / "go").touch()
    wait_until(lambda: owners(shop, valkey)[0] == "")
    assert shop.effects() == {0: [0]}
    run(shop, "resume", "bill")
    wait_until(lambda: shop.effects() == {0: [0, 4, 8, 12, 16]})


def test_a_drain_does_not_wait_for_what_is_paused(shop: Shop) -> None:
    run(shop, "pause", "bill:2")
    shop.send(shop.orders(range(40)))
    assert "quarantined or paused" in run(shop, "up", "--drain", code=1)
    done = in_order(range(40))
    assert shop.effects() == {p: done[p] for p in (0, 1, 3)}
    assert shop.effects("ship") == done
    run(shop, "resume", "bill:2")
    run(shop, "up", "--drain")
    assert shop.effects() == done


def test_a_replay_of_what_is_paused_does_not_wait(shop: Shop, start_up: Callable[..., Up]) -> None:
    shop.send(shop.orders(range(20), bad=[4]))
    start_up(shop.directory).wait_ready()
    wait_until(lambda: len(shop.blocked()) == 1)
    run(shop, "pause", "bill:0")
    shop.mend()
    assert "bill:0" in run(shop, "replay", "--yes").split("`runnelctl resume`")[1]
    run(shop, "resume", "bill:0")
    wait_until(lambda: shop.effects() == in_order(range(20)))
