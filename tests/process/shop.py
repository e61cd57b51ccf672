"""A small shop for tests of blocked partitions: a handler that fails where a record or a file tells it to, and writes
down, outside Redis, what it handled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runnelctl import topology
from runnelctl.cli import blocked
from runnelctl.client import connect_sync
from runnelctl.core.model import Partitioner
from runnelctl.core.routing import partition_of
from runnelctl.store import connect, operations
from runnelctl.store import endpoint as endpoints
from tests.process import ups

PARTITIONS = 4
#: A user per partition.
USERS = {
    partition_of(user, PARTITIONS, Partitioner.CRC32): user for user in reversed([f"u{number}" for number in range(40)])
}

_HANDLERS = """
import json, os

def bill(event):
    record = event.value
    if record.get("bad") and not os.path.exists("mended"):
        raise ValueError(f"bad order {record['n']}")
    if record.get("fatal") and not os.path.exists("mended"):
        os._exit(9)
    with open("effects.log", "a") as log:
        log.write(json.dumps(["bill", event.partition, record["n"]]) + "\\n")

class Moody:
    # dies with no event in flight while a file says so

    async def open(self, ctx):
        import asyncio
        self.watch = asyncio.get_running_loop().create_task(self.brood())

    async def brood(self):
        import asyncio
        while True:
            await asyncio.sleep(0.01)
            if os.path.exists("moody"):
                os._exit(7)

    async def __call__(self, event):
        bill(event)


def ship(event):
    with open("effects.log", "a") as log:
        log.write(json.dumps(["ship", event.partition, event.value["n"]]) + "\\n")
"""


class Shop:
    """A project in a directory of its own, on the server at `url`."""

    def __init__(
        self, directory: Path, name: str, url: str, *, policy: str = "QUARANTINE", handler: str = "bill", more: str = ""
    ) -> None:
        self.directory = directory
        self.name = name
        self.file = ups.project(
            directory,
            f"""
name: {name}
redis: {url}
pythonpath: [.]
lease: {{ttl: 2s}}
streams:
  orders:
    partitions: {PARTITIONS}
    key: user
    schema: {{type: object, required: [user, n], properties: {{n: {{type: integer}}}}}}
processors:
  bill: {{stream: orders, handler: "handlers:{handler}", processes: 2, policy: {policy}, retry: {{attempts: 1}}}}
{more}
""",
            handlers=_HANDLERS,
        )

    def send(self, records: Sequence[dict[str, Any]]) -> list[str]:
        """Send orders; returns their ids."""
        with connect_sync(self.file) as client:
            return client.send_many("orders", records)

    def orders(self, numbers: range, bad: Sequence[int] = (), flag: str = "bad") -> list[dict[str, Any]]:
        """An order for each number, over all partitions in turn; those in `bad` fail."""
        return [{"user": USERS[n % PARTITIONS], "n": n} | ({flag: True} if n in bad else {}) for n in numbers]

    def mend(self) -> None:
        """Let the handler succeed with everything from now on."""
        (self.directory / "mended").touch()

    def effects(self, processor: str = "bill") -> dict[int, list[int]]:
        """partition -> the numbers handled there, in order."""
        found: dict[int, list[int]] = {}
        log = self.directory / "effects.log"
        for line in log.read_text().splitlines() if log.exists() else ():
            name, partition, number = json.loads(line)
            if name == processor:
                found.setdefault(partition, []).append(number)
        return found

    def blocked(self) -> list[dict[str, Any]]:
        """What `replay --dry-run --json` lists, without the cost of a process."""
        of = topology.load(self.file)
        with connect.client(endpoints.parse(of.redis)) as client:
            found = operations.blockages(client, of, list(of.processors))
        listed: list[dict[str, Any]] = json.loads(blocked.as_json(of.name, found))["blocked"]
        return listed


def in_order(numbers: range, *, without: Sequence[int] = ()) -> dict[int, list[int]]:
    """What `Shop.effects` must be when every order was handled once, in order."""
    return {
        partition: [n for n in numbers if n % PARTITIONS == partition and n not in without]
        for partition in range(PARTITIONS)
    }
