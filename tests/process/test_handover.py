"""Partitions change hands when hosts join and leave and when a processor is restarted: only those that must, and a host
is given none before it can run them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from psutil import Process

from runnelctl import connect_sync
from tests.process.ups import Up, command, project, status
from tests.servers import Server
from tests.waiting import wait_until

TOPOLOGY = """
name: {name}
redis: {url}
pythonpath: [.]
lease: {{ttl: 3s}}
streams:
  orders: {{partitions: 12, key: who}}
processors:
  count: {{stream: orders, handler: shop:count, processes: 2}}
"""
HANDLER = """
import pathlib, time

while pathlib.Path("slow").exists():
    time.sleep(0.01)

def count(event): ...
"""
Places = dict[int, tuple[str | None, str | None]]


def places(directory: Path) -> Places:
    """Where each partition is: host and slice."""
    shown = status(directory)["processors"]["count"]["partitions"]
    return {each["partition"]: (each["host"], each["slice"]) for each in shown}


def moved(before: Places, after: Places) -> int:
    return sum(before[partition] != after[partition] for partition in before)


def on(directory: Path, up: Up) -> int:
    return sum(host is not None and host.endswith(f":{up.pid}") for host, _ in places(directory).values())


def test_only_what_must_move_moves(valkey: Server, tmp_path: Path, app_name: str) -> None:
    project(tmp_path, TOPOLOGY.format(name=app_name, url=valkey.url), shop=HANDLER)
    first = Up(tmp_path).wait_ready()
    second = None
    try:
        alone = places(tmp_path)
        slow = tmp_path / "slow"
        slow.touch()
        second = Up(tmp_path)
        wait_until(lambda: len(status(tmp_path)["hosts"]) == 2, message="the second host to join")
        assert places(tmp_path) == alone, "nothing is given to a host whose slices still import"
        slow.unlink()
        second.wait_ready()
        wait_until(lambda: second is not None and on(tmp_path, second) == 6, message="half to move")
        both = places(tmp_path)
        assert moved(alone, both) == 6, "and nothing but that half"
        epochs = {each["partition"]: each["epoch"] for each in status(tmp_path)["processors"]["count"]["partitions"]}
        assert command(tmp_path, "restart", "count").returncode == 0
        wait_until(lambda: moved(both, places(tmp_path)) == 0, message="everything to be where it was")
        rows = status(tmp_path)["processors"]["count"]["partitions"]
        assert {each["state"] for each in rows} == {"running"}
        assert all(each["epoch"] > epochs[each["partition"]] for each in rows), "each in a new process"
        assert second.stop() == 0
        wait_until(lambda: on(tmp_path, first) == 12, message="all to come back")
        gone = places(tmp_path)
        assert all(gone[partition] == place for partition, place in both.items() if place[0] == gone[partition][0] and
                   place == alone[partition])  # fmt: skip
        assert first.stop() == 0
    finally:
        for up in (first, second):
            if up is not None:
                up.close()


DEADLY = """
import os, pathlib, signal, time

while pathlib.Path("slow").exists():
    time.sleep(0.01)

def count(event):
    if event.value["die"]:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_others_take_over_for_a_slice_that_died_but_not_the_event_that_it_may_have_died_of(
    valkey: Server, tmp_path: Path, app_name: str
) -> None:
    deadly(tmp_path, valkey, app_name, processes=2)
    up = Up(tmp_path).wait_ready()
    try:
        before = places(tmp_path)
        (tmp_path / "slow").touch()
        send_a_killer(tmp_path)
        wait_until(lambda: len({slice_ for _, slice_ in places(tmp_path).values()} - {None}) == 2 and moved(
            before, places(tmp_path)) == 5, message="the other slice to take what is not suspected")  # fmt: skip
        (tmp_path / "slow").unlink()
        wait_until(lambda: rows(tmp_path) == (0, [6, 6]), message="the event to be passed over, and both to work")
    finally:
        up.close()


def test_another_host_takes_over_while_one_has_no_slice_but_not_the_event_that_it_may_have_died_of(
    valkey: Server, tmp_path: Path, app_name: str
) -> None:
    deadly(tmp_path, valkey, app_name, processes=1)
    hosts = [Up(tmp_path).wait_ready()]
    try:
        hosts.append(Up(tmp_path).wait_ready())
        wait_until(lambda: each_has(tmp_path, hosts) == [6, 6], message="half to move")
        slow = tmp_path / "slow"
        slow.touch()
        send_a_killer(tmp_path)
        wait_until(lambda: 11 in each_has(tmp_path, hosts), message="the other host to take what is not suspected")
        slow.unlink()
        wait_until(lambda: rows(tmp_path) == (0, [12]), message="the event to be passed over")
        wait_until(lambda: each_has(tmp_path, hosts) == [6, 6], message="both to work")
        slow.touch()
        (slice_,) = (child for child in Process(hosts[0].pid).children() if child.name() == "count.0")
        slice_.kill()
        wait_until(lambda: each_has(tmp_path, hosts) == [0, 12], message="everything to go on at the other host")
        slow.unlink()
        wait_until(lambda: each_has(tmp_path, hosts) == [6, 6], message="half to come back")
    finally:
        for up in hosts:
            up.close()


def deadly(directory: Path, valkey: Server, name: str, *, processes: int) -> None:
    """A project whose handler dies of an event that says so, twice, and then passes it over."""
    rules = f"processes: {processes}, policy: IGNORE, retry: {{attempts: 2, backoff: 10ms}}}}"
    topology = TOPOLOGY.format(name=name, url=valkey.url).replace("processes: 2}", rules)
    project(directory, topology, shop=DEADLY)


def send_a_killer(directory: Path) -> None:
    """And one more of its key."""
    with connect_sync(directory / "topology.yaml") as client:
        client.send_many("orders", [{"who": "ada", "die": True}, {"who": "ada", "die": False}])


def each_has(directory: Path, hosts: list[Up]) -> list[int]:
    """How many partitions each host has."""
    found = [host for host, _ in places(directory).values() if host is not None]
    return [sum(host.endswith(f":{up.pid}") for host in found) for up in hosts]


def rows(directory: Path) -> tuple[int, list[int]]:
    """How many events are left, and how many running partitions each slice has."""
    shown = status(directory)["processors"]["count"]["partitions"]
    slices = Counter(each["slice"] for each in shown if each["state"] == "running")
    return sum(each["lag"] for each in shown), sorted(slices.values())
