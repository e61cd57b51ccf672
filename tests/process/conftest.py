"""Fixtures of tests that start real hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runnelctl.store import connect
from tests.process.mistakes import HANDLERS, TOPOLOGY
from tests.process.ups import Up, command, project
from tests.servers import Server


@pytest.fixture
def start_up() -> Iterator[Callable[..., Up]]:
    """Call it as `start_up(directory, "--drain", env={"REDIS_URL": url})`; every host is gone after the test."""
    started: list[Up] = []

    def start(directory: Path, *arguments: str, env: dict[str, str] | None = None) -> Up:
        up = Up(directory, *arguments, env=env)
        started.append(up)
        return up

    yield start
    for up in started:
        up.close()


@pytest.fixture
def stored(valkey: Server, app_name: str, tmp_path: Path) -> Callable[[], Any]:
    """A project with one record stored; gives a function that reads everything that must not change."""
    project(tmp_path, TOPOLOGY.format(name=app_name, redis=valkey.url), handlers=HANDLERS)
    sent = command(tmp_path, "send", "orders", '{"id": "kept"}')
    assert sent.returncode == 0, sent.stderr

    def read() -> Any:
        with connect.client(valkey.endpoint) as client:
            keys = sorted(client.scan_iter(f"{{{app_name}*:events"))
            identity = {k: v for k, v in client.hgetall(f"{{{app_name}}}:meta").items() if k.startswith(b"stream:")}
            return {key: entries for key in keys if (entries := client.xrange(key))}, identity

    assert sum(map(len, read()[0].values())) == 1
    return read
