"""Every option can be given as an environment variable that is named after its flag."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Outcome

TOPOLOGY = "name: shop\nstreams: {orders: {partitions: 1, key: id}}\n"


def test_a_flag_by_its_variable(
    run: Callable[..., Outcome], write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("topology.yaml", TOPOLOGY)
    monkeypatch.setenv("RUNNELCTL_CONFIG_JSON", "1")
    assert json.loads(run("config").out)["name"] == "shop"
    monkeypatch.setenv("RUNNELCTL_CONFIG_JSON", "0")
    assert run("config").out.startswith("name: shop")


def test_a_value_by_its_variable(run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNELCTL_SEND_ON_INVALID", "sometimes")
    outcome = run("send", "orders", "{}")
    assert outcome.code == 2
    assert "--on-invalid" in outcome.err
