"""Quarantine of one key on real hosts: what is parked, who goes on, and how a replay puts it back in order."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
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
import asyncio, json, os

async def bill(event, ctx):
    record = event.value
    if record.get("bad") and not (os.path.exists("mended") or os.path.exists("half")):
        raise ValueError(f"bad order {record['n']}")
    if record.get("fatal") and not os.path.exists("mended"):
        os._exit(9)
    if os.path.exists("slow"):
        await asyncio.sleep(0.02)
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

    def send(self, numbers: range, *, bad: Sequence[int] = (), fatal: Sequence[int] = ()) -> None:
        """An order for each number, over all users in turn."""
        flags = {n: {"bad": True} for n in bad} | {n: {"fatal": True} for n in fatal}
        with connect_sync(self.file) as client:
            client.send_many(
                "orders",
                [{"user": USERS[n % len(USERS)], "n": n} | flags.get(n, {}) for n in numbers],
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


def test_with_no_up_a_replay_runs_the_handler_itself(tmp_path: Path, valkey: Server, app_name: str) -> None:
    shop = Shop(tmp_path, app_name, valkey.url, more="    state: {ttl: 1h}")
    shop.send(range(60), bad=[12, 36])
    assert ups.command(shop.directory, "up", "--drain").returncode == 0
    ended = ups.command(shop.directory, "seek", "bill", "--to", "earliest", "--yes")
    assert ended.returncode == 1
    assert "event(s) parked, and going back would bring earlier events of their keys after them" in ended.stderr
    assert "nothing moved" in ended.stderr
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
    assert ups.command(shop.directory, "seek", "bill", "--to", "earliest", "--yes").returncode == 0
    _looks_at_states(shop)


def _looks_at_states(shop: Shop) -> None:
    ended = ups.command(shop.directory, "state", "get", "bill", "ann", "--json")
    found = json.loads(ended.stdout)
    assert found["state"] == {"count": 9}
    assert 3_000_000 < found["ttl_ms"] <= 3_600_000
    listed = ups.command(shop.directory, "state", "list", "bill").stdout.splitlines()
    assert sorted(line.split("\t")[0] for line in listed) == USERS
    ended = ups.command(shop.directory, "state", "get", "bill", "nobody")
    assert (ended.returncode, ended.stdout) == (1, "")


@pytest.mark.parametrize("order", ["partition", "key"])
def test_parked_keys_keep_their_order_under_load_kills_and_hand_overs(
    order: str, tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    concurrency = 4 if order == "key" else 1
    shop = Shop(tmp_path, app_name, valkey.url, more=f"    order: {order}\n    concurrency: {concurrency}")
    """Two hosts, slices and hosts killed while events of parked keys come and are replayed: each once, in order."""
    numbers = range(1_800)
    bad = [n for n in numbers if n % len(USERS) in (0, 1) and n in (60, 301, 600)]
    one = start_up(shop.directory).wait_ready()
    start_up(shop.directory).wait_ready()
    shop.send(range(900), bad=bad)
    healthy = [user for user in USERS if user not in ("ann", "bob")]
    wait_until(lambda: sum(each["parked_keys"] for each in shop.partitions()) >= 1)
    _kill_slices(shop)
    shop.send(range(900, 1_800), bad=bad)
    wait_until(lambda: sum(len(shop.handled().get(user, ())) for user in healthy) >= 500)
    one.kill()
    everything = expected(numbers)
    wait_until(lambda: all(shop.handled()[user] == everything[user] for user in healthy), 40)
    wait_until(lambda: sum(each["parked_keys"] for each in shop.partitions()) == 2)
    assert shop.handled()["ann"] == [n for n in everything["ann"] if n < 60]
    shop.mend()
    (shop.directory / "slow").touch()
    replaying = subprocess.Popen(
        [sys.executable, "-m", "runnelctl", "replay", "--yes"], cwd=shop.directory, env=ups.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    before = shop.total()
    wait_until(lambda: shop.total() > before + 20)
    replaying.kill()  # who asked need not live: what was asked for is in Redis
    replaying.wait()
    _kill_slices(shop)
    (shop.directory / "slow").unlink()
    wait_until(lambda: shop.handled() == everything, 40, "everything to be handled once and in order")
    assert shop.counts() == {user: len(found) for user, found in everything.items()}
    wait_until(lambda: sum(each["parked_keys"] for each in shop.partitions()) == 0)


def _kill_slices(shop: Shop) -> None:
    for pid in {each["pid"] for each in shop.partitions() if each["pid"]}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_an_event_that_kills_its_process_is_parked_also_in_a_replay(shop: Shop, start_up: Callable[..., Up]) -> None:
    """Of bob's events one is fatal at once; of ann's the second that a replay brings: its elder must not pay for it."""
    shop.send(range(24), bad=[6], fatal=[7, 12])
    start_up(shop.directory).wait_ready()
    wait_until(lambda: shop.handled() == expected(range(24)) | {"ann": [0], "bob": [1]}, 40)
    (ann, bob) = sorted(shop.listed()["parked"], key=lambda each: str(each["key"]))
    assert (bob["error"]["type"], bob["error"]["attempts"], bob["events"]) == ("ProcessDied", 2, 3)
    assert (ann["error"]["type"], ann["events"]) == ("ValueError", 3)
    (shop.directory / "half").touch()
    ended = shop.replay("--key", "ann", "--yes")
    assert ended.returncode == 1, ended.stderr
    assert "still parked" in ended.stderr
    (ann, bob) = sorted(shop.listed()["parked"], key=lambda each: str(each["key"]))
    assert (ann["error"]["type"], ann["replaying"], ann["events"]) == ("ProcessDied", False, 2)
    assert json.loads(ann["error"]["payload"])["n"] == 12
    assert shop.handled()["ann"] == [0, 6]
    shop.mend()
    ended = shop.replay("--yes")
    assert ended.returncode == 0, ended.stderr
    assert shop.handled() == expected(range(24))
    assert shop.counts() == dict.fromkeys(USERS, 4)


def test_what_cannot_be_parked_quarantines_its_partition(tmp_path: Path, valkey: Server, app_name: str) -> None:
    shop = Shop(tmp_path, app_name, valkey.url, more="    max_parked: {events: 3}")
    shop.send(range(60), bad=[0])
    assert ups.command(shop.directory, "up", "--drain").returncode == 1
    (full,) = [each for each in shop.partitions() if each["state"] == "quarantined"]
    assert (full["parked_events"], full["error"]["type"], full["error"]["key"]) == (3, "ParkingFull", "ann")
    assert "as many as max_parked allows" in full["error"]["message"]
    shop.mend()
    ended = shop.replay("--yes")
    assert ended.returncode == 0, ended.stderr
    assert shop.handled() == expected(range(60))
    # Without a key, there is nothing less than the partition that could stop.
    with shop.client() as client:
        client.xadd(keys.events(shop.name, "orders", 0), {"data": "{broken"})
    assert ups.command(shop.directory, "up", "--drain").returncode == 1
    (broken,) = [each for each in shop.partitions() if each["state"] == "quarantined"]
    assert (broken["partition"], broken["parked_keys"], broken["error"]["type"]) == (0, 0, "RecordError")
    assert "no key that can be read" in broken["error"]["escalated"]


FORMS = """
import os

def guard(record):
    if record.get("bad") and not os.path.exists("mended"):
        raise ValueError(f"bad order {record['n']}")

def done(record, event, ctx):
    state = ctx.state_of(event.key)
    state["seen"] = [*state.get("seen", []), record["n"]]

def plain(event, ctx):
    guard(event.value)
    done(event.value, event, ctx)

async def one(event, ctx):
    guard(event.value)
    done(event.value, event, ctx)

async def many(events, ctx):
    for event in events:
        guard(event.value)
    for event in events:
        done(event.value, event, ctx)

async def loop(events, ctx):
    async for event in events:
        guard(event.value)
        done(event.value, event, ctx)

async def lists(events, ctx):
    async for taken in events.take(5, within=0.05):
        for event in taken:
            guard(event.value)
        for event in taken:
            done(event.value, event, ctx)
"""


def test_every_form_of_handler_parks_and_replays(tmp_path: Path, valkey: Server, app_name: str) -> None:
    common = "stream: orders, processes: 1, policy: QUARANTINE, scope: key, retry: {attempts: 1}"
    forms = {"plain": "", "one": "", "many": ", batch: {size: 7, within: 20ms}", "loop": "", "lists": ""}
    others = "".join(f"  {name}: {{{common}, handler: forms:{name}{more}}}\n" for name, more in forms.items())
    shop = Shop(tmp_path, app_name, valkey.url, others=others)
    (tmp_path / "forms.py").write_text(FORMS)
    shop.send(range(60), bad=[12, 13])
    assert ups.command(shop.directory, "up", "--drain").returncode == 0
    everything = expected(range(60))

    def seen(name: str) -> dict[str, list[int]]:
        with connect_sync(shop.file) as client:
            return {user: client.state(name, user).get("seen", []) for user in USERS}

    for name in forms:
        assert seen(name) == everything | {"ann": [0, 6], "bob": [1, 7]}, name
    shop.mend()
    ended = shop.replay("--yes")
    assert ended.returncode == 0, ended.stderr
    for name in forms:
        assert seen(name) == everything, name


LETTERS = """
  morgue:
    stream: orders.dead
    handler: handlers:dead
    policy: HALT
"""


def test_dead_letters_have_a_processor_and_come_back_once_in_order(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    shop = Shop(tmp_path, app_name, valkey.url, more="    dead_letter: true", others=LETTERS)
    shop.file.write_text(shop.file.read_text().replace("policy: QUARANTINE\n    scope: key", "policy: IGNORE"))
    bad = [6, 12, 13, 18]
    shop.send(range(24), bad=bad)
    assert ups.command(shop.directory, "up", "--drain").returncode == 0
    handled = shop.handled()
    assert sorted(handled.pop("reader")) == bad
    assert handled == expected(range(24), without=bad)
    with shop.client() as client:
        heads = [
            json.loads(fields["data"]).get("head") for _, fields in client.xrange(keys.events(shop.name, "bills", 0))
        ]
    head = next(head for head in heads if head)
    assert (head["dead-processor"], head["dead-type"], head["dead-stream"]) == ("bill", "ValueError", "orders")
    assert head["dead-message"].startswith("bad order")
    listing = shop.replay("--from-dead-letter", "--dry-run")
    assert listing.returncode == 0, listing.stderr
    assert "4 dead letter(s), 0 taken back before" in listing.stderr
    shop.mend()
    # One key with no host, the others with one.
    ended = shop.replay("bill", "--from-dead-letter", "orders.dead", "--key", "bob", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert shop.handled()["bob"] == [1, 7, 19, 13]
    start_up(shop.directory).wait_ready()
    ended = shop.replay("--from-dead-letter", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert shop.handled()["ann"] == [0, 6, 12, 18]
    ended = shop.replay("--from-dead-letter", "--yes")
    assert ended.returncode == 0
    assert "0 dead letter(s), 4 taken back before" in ended.stderr
    assert shop.counts() == dict.fromkeys(USERS, 4)
    assert "is no dead letter stream" in shop.replay("--from-dead-letter", "bills").stderr
