"""A primary that Sentinels watch: commands, senders and hosts follow it through failovers, and nothing comes twice."""

from __future__ import annotations

import asyncio
import json
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

import runnelctl
from runnelctl import errors
from runnelctl.core import keys
from runnelctl.store import connect
from runnelctl.store.endpoint import parse
from tests import servers
from tests.process.ups import Up, command, project, status
from tests.servers import Server
from tests.waiting import wait_until
from tests.watched import AT_ONCE, SERVICE, Watched

TOPOLOGY = """
name: {name}
redis: {url}
pythonpath: [.]
lease: {{ttl: 2s}}
durability: {{replicas: 1}}
streams:
  orders: {{partitions: 4, key: who}}
processors:
  count: {{stream: orders, handler: shop:count, processes: 2, policy: QUARANTINE, retry: {{attempts: 1}}}}
"""
HANDLER = """
async def count(event, ctx):
    seen = ctx.state.get("seen", [])
    ctx.state["seen"] = seen + [event.value["n"]]
"""


@pytest.fixture
def watched() -> Iterator[Watched]:
    if servers.binary("valkey") is None:
        pytest.skip("no valkey server is installed")
    servers_ = Watched()
    yield servers_
    servers_.close()


class Sender(threading.Thread):
    """Sends numbered records of ten keys one by one for as long as it may, and notes which were acknowledged."""

    def __init__(self, file: Path) -> None:
        super().__init__(daemon=True)
        self._file = file
        self.acknowledged: list[int] = []
        self.unknown: list[int] = []
        self.failure: Exception | None = None
        self.enough = threading.Event()

    def run(self) -> None:
        try:
            with runnelctl.connect_sync(self._file) as client:
                number = 0
                while not self.enough.wait(0.002):
                    try:
                        client.send("orders", {"who": f"k{number % 10}", "n": number})
                        self.acknowledged.append(number)
                    except errors.SendOutcomeUnknown:
                        self.unknown.append(number)
                    number += 1
        except Exception as error:
            self.failure = error


def test_everybody_follows_the_primary(watched: Watched, tmp_path: Path, app_name: str) -> None:
    file = project(tmp_path, TOPOLOGY.format(name=app_name, url=watched.url), shop=HANDLER)
    assert command(tmp_path, "check").returncode == 0
    up = Up(tmp_path).wait_ready()
    sender = Sender(file)
    try:
        sender.start()
        _more(sender)
        watched.switch()  # planned
        _more(sender)
        _handled(tmp_path, sender)
        # The old primary is a replica by now; lose the new one.
        wait_until(lambda: _role(watched.primary.port) == "slave", 30, "the old primary to follow")
        wait_until(lambda: _link_up(watched.primary.port), 30, "the old primary to be in step")
        watched.lose(watched.replica)
        watched.replica.start()  # else there would be nobody to vouch for a send
        _more(sender)
        sender.enough.set()
        sender.join(40)
        assert sender.failure is None
        _handled(tmp_path, sender)
        seen = _seen(watched.primary.port, app_name)
        everything = [number for numbers in seen.values() for number in numbers]
        assert [each for each, times in Counter(everything).items() if times > 1] == []
        assert all(numbers == sorted(numbers) for numbers in seen.values())
        assert set(everything) >= set(sender.acknowledged)
        assert up.process.poll() is None
        assert "Traceback" not in up.output
        shown = status(tmp_path)
        assert shown["redis"].startswith("redis+sentinel://")
        assert {each["state"] for each in shown["processors"]["count"]["partitions"]} == {"running"}
        assert command(tmp_path, "tail", "orders", "-n", "1").stdout
        assert command(tmp_path, "send", "orders", '{"who": "k1", "n": -1}').returncode == 0
        assert up.stop() == 0
    finally:
        sender.enough.set()
        up.close()


def test_who_connects_waits_while_the_sentinels_name_a_replica(watched: Watched) -> None:
    endpoint = parse(watched.url)
    for sentinel in watched.sentinels:  # they are not to mend meanwhile what is done by hand here
        with sentinel.client() as client:
            client.execute_command("SENTINEL", "SET", SERVICE, "down-after-milliseconds", 600_000)
    primary = redis.Redis(port=watched.primary.port, decode_responses=True)

    def refused() -> int:
        return int(primary.info("commandstats").get("cmdstat_role", {"calls": 0})["calls"])

    async def asynchronous() -> None:
        async with connect.client_async(endpoint) as client:
            await client.ping()

    def blocking() -> None:
        with connect.client(endpoint) as client:
            client.ping()

    def few() -> None:
        with connect.line(endpoint) as line:
            line.time()

    with primary, ThreadPoolExecutor(1) as pool:
        for ask in (few, blocking, lambda: asyncio.run(asynchronous())):
            before = refused()
            primary.replicaof("127.0.0.1", watched.replica.port)
            asked = pool.submit(ask)
            wait_until(lambda before=before: refused() > before, message="it to ask for the role")  # type: ignore[misc]
            primary.replicaof("NO", "ONE")
            asked.result(30)


def test_a_commit_counts_once_a_replica_has_it(tmp_path: Path, app_name: str) -> None:
    program = servers.binary("valkey")
    if program is None:
        pytest.skip("no valkey server is installed")
    primary, replica = Server(program, *AT_ONCE), Server(program, *AT_ONCE)
    up = None
    try:
        primary.start()
        replica.start()
        Watched.follow(replica, primary)
        project(tmp_path, TOPOLOGY.format(name=app_name, url=primary.tcp_url), shop=HANDLER)
        up = Up(tmp_path).wait_ready()
        assert command(tmp_path, "send", "orders", '{"who": "a", "n": 1}').returncode == 0
        replica.pause()
        with redis.Redis(port=primary.port) as client:
            client.xadd(keys.events(app_name, "orders", zlib.crc32(b"a") % 4), {"data": '{"who": "a", "n": 2}'})
        wait_until(lambda: "a commit does not count yet, 0 of 1 replica(s) had it" in up.output, 20, "the log")
        replica.resume()
        wait_until(lambda: "Redis is back" in up.output, 20, "the commit to count")
        wait_until(lambda: _seen(primary.port, app_name) == {"a": [1, 2]}, 20, "both events")
        assert up.stop() == 0
    finally:
        if up is not None:
            up.close()
        primary.close()
        replica.close()


def test_no_sentinel_answers_or_knows_the_name(tmp_path: Path, app_name: str, start_server: object) -> None:
    gone = servers.free_port()
    project(tmp_path, TOPOLOGY.format(name=app_name, url=f"redis+sentinel://127.0.0.1:{gone}/events"), shop=HANDLER)
    ended = command(tmp_path, "status")
    assert ended.returncode == 69
    assert (
        f"no Sentinel of redis+sentinel://127.0.0.1:{gone}/events/0 names a primary: Connection refused" in ended.stderr
    )
    assert "Traceback" not in ended.stderr


def _more(sender: Sender, by: int = 200) -> None:
    aim = len(sender.acknowledged) + by
    wait_until(lambda: sender.failure or len(sender.acknowledged) >= aim, 40, "records to be acknowledged")
    assert sender.failure is None, sender.failure


def _handled(directory: Path, sender: Sender) -> None:
    """Wait until nothing is unread, or at least nothing of what was acknowledged up to now."""

    def passed() -> bool:
        shown = status(directory)["processors"]["count"]["partitions"]
        return all(each["lag"] < 50 for each in shown)

    wait_until(passed, 40, "the partitions to be handled")
    assert sender.failure is None


def _role(port: int) -> str:
    with redis.Redis(port=port, decode_responses=True) as client:
        return str(client.info("replication")["role"])


def _link_up(port: int) -> bool:
    with redis.Redis(port=port, decode_responses=True) as client:
        return client.info("replication").get("master_link_status") == "up"


def _seen(port: int, name: str) -> dict[str, list[int]]:
    """Per key, the numbers that its handler saw, as the state has them."""
    found: dict[str, list[int]] = {}
    with redis.Redis(port=port, decode_responses=True) as client:
        for key in ("a", *(f"k{number}" for number in range(10))):
            for partition in range(4):
                text = client.get(keys.state(name, "orders", partition, "count", key))
                if text:
                    found[key] = json.loads(text)["seen"]
    return found
