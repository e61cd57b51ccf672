"""`runnelctl doctor` with a server, without one, and with trouble on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.process import ups
from tests.process.shop import Shop
from tests.process.ups import Up
from tests.servers import Server

pytestmark = pytest.mark.process


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, app_name: str) -> Shop:
    return Shop(tmp_path, app_name, valkey.url)


def findings(directory: Path, code: int, **extra: str) -> dict[tuple[str, str], list[str]]:
    ended = ups.command(directory, "doctor", "--json", **extra)
    assert (ended.returncode, ended.stderr) == (code, "")
    shown: dict[str, Any] = json.loads(ended.stdout)
    assert shown["ok"] is (code == 0)
    found: dict[tuple[str, str], list[str]] = {}
    for each in shown["findings"]:
        found.setdefault((each["subject"], each["verdict"]), []).append(each["message"])
    return found


def test_from_nothing_to_trouble(shop: Shop, start_up: Callable[..., Up]) -> None:
    assert ("host", "ok") in findings(shop.directory, 0)
    start_up(shop.directory).wait_ready()
    assert "beat" in findings(shop.directory, 0)["host", "ok"][0]
    away = findings(shop.directory, 1, RUNNELCTL_REDIS="redis://127.0.0.1:1/0")
    assert "127.0.0.1:1" in away["redis", "bad"][0]
    shop.file.write_text(shop.file.read_text().replace("stream: orders", "stream: ordres"))
    wrong = findings(shop.directory, 1)["topology", "bad"]
    assert "did you mean 'orders'" in wrong[0]


def test_without_a_topology(tmp_path: Path) -> None:
    assert "no topology" in findings(tmp_path, 0)["topology", "warning"][0]
