"""A partition on either kind of server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runnelctl.store import connect
from tests.partition import Partition
from tests.servers import Server


@pytest.fixture
def part(redis_server: Server, app_name: str) -> Iterator[Partition]:
    """A partition of the test's own, once per kind of server."""
    with connect.client(redis_server.endpoint) as client:
        yield Partition(client, app_name)
