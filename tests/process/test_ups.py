"""The helpers of the process tests: a host comes up, and is gone with all its children when it is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.process.ups import Up, project
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TOPOLOGY = """\
name: {name}
redis: {redis}
pythonpath: [.]
streams:
  orders: {{partitions: 2, key: id}}
processors:
  billing: {{stream: orders, handler: "handlers:charge", processes: 2}}
lease: {{ttl: 1s}}
"""
HANDLERS = "async def charge(event):\n    pass\n"


def test_a_host_comes_up_and_drains(valkey: Server, app_name: str, tmp_path: Path, start_up: Callable[..., Up]) -> None:
    told = "import pathlib, sys\npathlib.Path('found').write_text(str({'redis', 'psutil'} & set(sys.modules)))\n"
    project(tmp_path, TOPOLOGY.format(name=app_name, redis=valkey.url), handlers=told + HANDLERS)
    up = start_up(tmp_path).wait_ready()
    found = (tmp_path / "found").read_text()
    assert found == "set()", "loaded after the fork: every slice pays for it, in time and in memory"
    assert up.stop() == 0
    assert up.home is None


def test_a_killed_host_leaves_no_child(
    valkey: Server, app_name: str, tmp_path: Path, start_up: Callable[..., Up]
) -> None:
    project(tmp_path, TOPOLOGY.format(name=app_name, redis=valkey.url), handlers=HANDLERS)
    up = start_up(tmp_path).wait_ready()
    children = psutil.Process(up.pid).children(recursive=True)
    assert len(children) >= 3  # the keeper and two slices
    up.close()
    wait_until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in children))


def test_a_host_that_cannot_start_fails_the_wait_with_its_output(
    valkey: Server, app_name: str, tmp_path: Path, start_up: Callable[..., Up]
) -> None:
    project(tmp_path, TOPOLOGY.format(name=app_name, redis=valkey.url), handlers="import nothing_of_this_name\n")
    with pytest.raises(AssertionError, match="nothing_of_this_name"):
        start_up(tmp_path).wait_ready()
