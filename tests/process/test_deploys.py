"""Deploys: hosts of two versions side by side, and a handler that cannot open when its process is started again."""

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

OPENS = """
import os

class Opens:
    def open(self, ctx):
        if os.path.exists("closed"):
            raise ConnectionError("the database is away")
    def __call__(self, event):
        bill(event)
"""


def test_a_rolling_deploy_of_settings_that_nobody_shares(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    shop = Shop(tmp_path, app_name, valkey.url)
    old = start_up(tmp_path).wait_ready()
    text = shop.file.read_text()
    shop.file.write_text(text.replace("retry: {attempts: 1}", "retry: {attempts: 3}, timeout: 20s"))
    refused = ups.command(tmp_path, "up")
    assert refused.returncode == 2 and "runs another version" in refused.stderr and "--rolling" in refused.stderr
    new = start_up(tmp_path, "--rolling").wait_ready()
    shop.send(shop.orders(range(200)))
    assert old.stop() == 0
    shop.send(shop.orders(range(200, 400)))
    wait_until(lambda: shop.effects() == in_order(range(400)))
    # Over a fact that both must agree on there is no side by side.
    shop.file.write_text(text.replace("ttl: 2s", "ttl: 3s"))
    refused = ups.command(tmp_path, "up", "--rolling")
    assert refused.returncode == 2 and "lease.ttl_ms: 3000 here, 2000 there" in refused.stderr
    assert new.stop() == 0


def test_a_handler_that_cannot_open_again_is_tried_again(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    ship = '  ship: {stream: orders, handler: "handlers:ship", processes: 1}\n'
    shop = Shop(tmp_path, app_name, valkey.url, handler="Opens", more=ship)
    handlers = tmp_path / "handlers.py"
    handlers.write_text(handlers.read_text() + OPENS)
    up = start_up(tmp_path).wait_ready()

    def slices() -> list[psutil.Process]:
        return [child for child in psutil.Process(up.pid).children() if child.name().startswith("bill.")]

    (tmp_path / "closed").touch()
    for child in slices():
        os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: up.output.count("the database is away") >= 4, message="attempts to open")
    (tmp_path / "closed").unlink()
    shop.send(shop.orders(range(40)))
    wait_until(lambda: shop.effects() == in_order(range(40)), message="it to be open again")
    assert up.process.poll() is None
    assert up.stop() == 0
