"""Quarantine of one key on real hosts: what is parked, who goes on, and how a replay puts it back in order."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from runnelctl.client import connect_sync
from runnelctl.core import keys
from tests.process import ups
from tests.process.ups import Up
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

USERS = ["ann", "bob", "cleo", "dan", "eve", "fay"]

_HANDLERS = """
import json, os, time

def bill(event, ctx):
    record = event.value
    if record.get("bad") and not os.path.exists("mended"):
        raise ValueError(f"bad order {record['n']}")
    if record.get("fatal") and not os.path.exists("mended"):
        os._exit(9)
    if os.path.exists("slow"):
        time.sleep(0.02)
    ctx.state["count"] = ctx.state.get("count", 0) + 1
    ctx.emit("bills", {"user": record["user"], "n": record["n"]})

def dead(event, ctx):
    head = {name: value.decode() for name, value in event.headers.items()}
    ctx.emit("bills", {"user": "reader", "n": event.value["n"], "head": head})
"""


class Shop:
    """Two partitions and six users. What was handled is in `bills`, of one partition, in the order of commits."""

    def __init__(
        self, directory: Path, name: str, url: str, *, more: str = "", streams: str = "", others: str = ""
    ) -> None:
        self.directory, self.name, self.url = directory, name, url
        self.file = ups.project(
            directory,
            f"""
name: {name}
redis: {url}
pythonpath: [.]
lease: {{ttl: 2s}}
streams:
  orders: {{partitions: 2, key: user}}
  bills: {{partitions: 1}}
{streams}
processors:
  bill:
    stream: orders
    handler: handlers:bill
    processes: 2
    policy: QUARANTINE
    scope: key
    retry: {{attempts: 2, backoff: 1ms}}
{more}
{others}
""",
            handlers=_HANDLERS,
        )

    def send(self, numbers: range, *, bad: Sequence[int] = (), flag: str = "bad") -> None:
        """An order for each number, over all users in turn."""
        with connect_sync(self.file) as client:
            client.send_many(
                "orders",
                [{"user": USERS[n % len(USERS)], "n": n} | ({flag: True} if n in bad else {}) for n in numbers],
            )

    def mend(self) -> None:
        (self.directory / "mended").touch()

    def client(self) -> Any:
        return redis.Redis.from_url(self.url, decode_responses=True)

    def handled(self) -> dict[str, list[int]]:
        """user -> the orders handled, in the order of their commits."""
        found: dict[str, list[int]] = {}
        with self.client() as client:
            for _, fields in client.xrange(keys.events(self.name, "bills", 0)):
                record = json.loads(fields["data"])
                found.setdefault(record["user"], []).append(record["n"])
        return found

    def total(self) -> int:
        return sum(map(len, self.handled().values()))

    def counts(self) -> dict[str, int]:
        """What ctx.state has counted for each user."""
        with connect_sync(self.file) as client:
            return {user: client.state("bill", user).get("count", 0) for user in USERS}

    def partitions(self) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = ups.status(self.directory)["processors"]["bill"]["partitions"]
        return shown

    def listed(self) -> dict[str, Any]:
        ended = self.replay("--dry-run", "--json")
        listing: dict[str, Any] = json.loads(ended.stdout)
        return listing

    def replay(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return ups.command(self.directory, "replay", *arguments, **extra)


def expected(numbers: range, without: Sequence[int] = ()) -> dict[str, list[int]]:
    return {
        user: found
        for index, user in enumerate(USERS)
        if (found := [n for n in numbers if n % len(USERS) == index and n not in without])
    }


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, app_name: str) -> Shop:
    return Shop(tmp_path, app_name, valkey.url)


def test_a_failed_key_is_parked_and_every_other_goes_on(shop: Shop, start_up: Callable[..., Up]) -> None:
    shop.send(range(60), bad=[12, 13])  # the third of ann and of bob
    up = start_up(shop.directory).wait_ready()
    everything = expected(range(60))
    healthy = {user: numbers for user, numbers in everything.items() if user not in ("ann", "bob")}
    wait_until(lambda: shop.handled() == healthy | {"ann": [0, 6], "bob": [1, 7]})
    wait_until(lambda: sum(each["lag"] for each in shop.partitions()) == 0)
    shown = shop.partitions()
    assert sum(each["parked_keys"] for each in shown) == 2
    assert sum(each["parked_events"] for each in shown) == 16
    assert {each["state"] for each in shown} == {"running"}
    (error, *_) = [each["error"] for each in shown if each["parked_keys"]]
    assert {"event", "key", "payload", "type", "message", "traceback", "attempts", "processor", "epoch", "host", "pid",
            "time"} <= error.keys()  # fmt: skip
    assert (error["type"], error["attempts"], error["state"]) == ("ValueError", 2, "parked")
    checked = ups.command(shop.directory, "status", "--check")
    assert checked.returncode == 1
    assert "parked (8 events)" in checked.stdout or "keys parked (16 events)" in checked.stdout
    (ann, bob) = sorted(shop.listed()["parked"], key=lambda each: str(each["key"]))
    assert (ann["key"], ann["events"], ann["error"]["message"]) == ("ann", 8, "bad order 12")
    assert bob["key"] == "bob"
    listing = shop.replay("--dry-run").stdout
    assert "key 'ann' is parked at event" in listing
    assert "7 events behind it" in listing
    # One key, while the host runs on.
    shop.mend()
    ended = shop.replay("bill", "--key", "ann", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert shop.handled()["ann"] == everything["ann"]
    assert shop.handled()["bob"] == [1, 7]
    assert [each["key"] for each in shop.listed()["parked"]] == ["bob"]
    # The rest, and what comes later.
    assert shop.replay("--yes").returncode == 0
    shop.send(range(60, 72))
    wait_until(lambda: shop.handled() == expected(range(72)))
    assert shop.counts() == dict.fromkeys(USERS, 12), "each event counted once"
    assert ups.command(shop.directory, "status", "--check").returncode == 0
    assert up.process.poll() is None
    assert up.stop() == 0


def test_with_no_up_a_replay_runs_the_handler_itself(shop: Shop) -> None:
    shop.send(range(60), bad=[12, 36])
    assert ups.command(shop.directory, "up", "--drain").returncode == 0
    ended = shop.replay("--yes")
    assert ended.returncode == 1, ended.stderr
    assert "still parked" in ended.stderr
    assert "bad order 12" in ended.stderr
    assert shop.handled()["ann"] == [0, 6]
    ended = shop.replay("bill", "--key", "ann", "--skip", "--yes", "--reason", "no such user")
    assert ended.returncode == 1, ended.stderr
    assert shop.handled()["ann"] == [0, 6, 18, 24, 30]
    (ann,) = shop.listed()["parked"]
    assert (ann["events"], ann["error"]["message"]) == (4, "bad order 36")
    program = shop.directory / "edit"
    program.write_text('#!/bin/sh\nsed -i \'s/"bad": true/"bad": false/\' "$1"\n')
    program.chmod(0o755)
    ended = shop.replay("bill", "--key", "ann", "--edit", "--yes", EDITOR=str(program))
    assert ended.returncode == 0, ended.stderr
    assert shop.handled() == expected(range(60), without=[12])
    assert shop.counts() == dict.fromkeys(USERS, 10) | {"ann": 9}
    with shop.client() as client:
        letters = [fields for p in range(2) for _, fields in client.xrange(keys.events(shop.name, "orders.dead", p))]
        kinds = [fields["what"] for _, fields in client.xrange(keys.audit(shop.name))]
    assert [json.loads(letter["data"])["n"] for letter in letters] == [12]
    assert letters[0]["h:dead-reason"] == "no such user"
    assert kinds == ["retry", "skip", "edit"]
