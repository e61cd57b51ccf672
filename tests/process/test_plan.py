"""`runnelctl plan` before and after an `up`: it says what `up` would do, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.process import ups
from tests.process.shop import Shop
from tests.process.ups import Up
from tests.servers import Server

pytestmark = pytest.mark.process

SHIP = '  ship: {stream: orders, handler: "handlers:ship", processes: 1}'


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, app_name: str) -> Shop:
    return Shop(tmp_path, app_name, valkey.url, more=SHIP)


def plan(shop: Shop, code: int = 0) -> dict[str, Any]:
    ended = ups.command(shop.directory, "plan", "--json")
    assert ended.returncode == code, ended.stderr
    assert ended.stderr
    shown: dict[str, Any] = json.loads(ended.stdout)
    assert shown["starts"] is (code == 0)
    return shown


def kinds(shown: dict[str, Any]) -> list[tuple[str, str, str, int | None]]:
    return [(each["kind"], each["what"], each["name"], each["lag"]) for each in shown["changes"]]


def test_from_new_to_known_to_gone(shop: Shop, valkey: Server) -> None:
    assert [each[:3] for each in kinds(plan(shop))] == [
        ("new", "stream", "orders"), ("new", "processor", "bill"), ("new", "processor", "ship"),
    ]  # fmt: skip
    with redis.Redis.from_url(valkey.url) as client:
        assert client.keys(f"*{shop.name}*") == []
    shop.send(shop.orders(range(20)))
    assert ups.command(shop.directory, "up", "--drain").returncode == 0
    assert plan(shop)["changes"] == []
    shop.send(shop.orders(range(20, 30)))
    text = shop.file.read_text()
    shop.file.write_text(text.replace(SHIP, "").replace("QUARANTINE", "IGNORE"))
    assert kinds(plan(shop)) == [("changed", "processor", "bill", None), ("gone", "processor", "ship", 10)]
    shown = ups.command(shop.directory, "plan").stdout
    assert "~ processor bill: policy: QUARANTINE → IGNORE" in shown
    assert "- processor ship: 10 unread event(s) of orders" in shown


def test_what_up_would_refuse_it_refuses(shop: Shop, start_up: Callable[..., Up]) -> None:
    start_up(shop.directory).wait_ready()
    assert plan(shop)["changes"] == []
    text = shop.file.read_text()
    shop.file.write_text(text.replace("QUARANTINE", "IGNORE"))
    (refusal,) = plan(shop, code=2)["refusals"]
    assert "runs another version" in refusal
    shop.file.write_text(text.replace("partitions: 4", "partitions: 8"))
    conflict, _ = plan(shop, code=2)["refusals"]
    assert "4 partitions by crc32 in Redis, but 8" in conflict
