"""Every codec and compression from `send` over a real `up` to `tail`; typed records, match, log lines as JSON,
discover, and two deployments of one file that each run a processor of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from runnelctl.core import keys
from tests.process.ups import Up, command, project
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

STORED = [
    *[(codec, how) for codec in ("json", "msgpack") for how in ("none", "zstd", "lz4", "gzip")],
    ("fields", "none"), ("shop:Upper", "gzip"),
]  # fmt: skip
SHOP = """\
import json
import msgspec

class Order(msgspec.Struct):
    user: str
    type: str
    cents: int
    note: str = ""

class Upper:
    def encode(self, value):
        return json.dumps(value).upper().encode()
    def decode(self, data):
        return json.loads(data.decode().lower())

def see(event, ctx):
    assert type(event.value) is Order
    ctx.state["cents"] = ctx.state.get("cents", 0) + event.value.cents
    ctx.emit("seen", {"user": event.key, "from": event.stream})

def spread(event, ctx):
    import found
    for stream in found.STREAMS:
        ctx.emit(stream, event.value)
"""


def streams() -> dict[str, dict[str, Any]]:
    return {
        f"s{number}": {"partitions": 2, "key": "user", "codec": codec, "compression": how, "record": "shop:Order"}
        for number, (codec, how) in enumerate(STORED)
    }


def topology(name: str, url: str) -> str:
    processors = {
        stream: {"stream": stream, "handler": "shop:see", "processes": 1, "match": {"type": ["paid"]},
                 "policy": "IGNORE", "dead_letter": True, "retry": {"attempts": 1}}
        for stream in streams()
    }  # fmt: skip
    processors["spread"] = {"stream": "all", "handler": "shop:spread", "processes": 1}
    return json.dumps({
        "name": name, "redis": url, "pythonpath": ["."], "discover": ["fou*.py"], "log": {"format": "json"},
        "streams": {**streams(), "all": {"partitions": 1, "record": "shop:Order"}, "seen": {"partitions": 1}},
        "processors": processors,
    })  # fmt: skip


def test_every_codec_from_send_to_tail(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    found = f"print('found')\nSTREAMS = {list(streams())}\n"
    project(tmp_path, topology(app_name, valkey.url), shop=SHOP, found=found)
    checked = command(tmp_path, "check")
    assert checked.returncode == 0, checked.stderr
    wrong = command(tmp_path, "send", "s1", '{"user": "ada", "type": "paid", "cents": "x"}')
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (1, "record 1: cents: expected int, got str")
    orders = [{"user": "ada", "type": kind, "cents": 5, "note": "ü" * 100} for kind in ("paid", "free", "paid")]
    for stream in streams():
        sent = command(tmp_path, "send", stream, *map(json.dumps, orders))
        assert sent.returncode == 0, sent.stderr
    assert command(tmp_path, "send", "all", json.dumps(orders[0])).returncode == 0
    with redis.Redis.from_url(valkey.url) as client:
        for number, (codec, _) in enumerate(STORED):
            entry: Any = {"user": "ada", "type": "paid", "cents": "x1"} if codec == "fields" else {"data": b"\x93?"}
            client.xadd(keys.events(app_name, f"s{number}", 0), {**entry, "key": "broken"})
    up = start_up(tmp_path, "--drain")
    assert up.process.wait(60) == 0, up.output
    assert up.process.wait(60) == 0
    lines = [json.loads(line) for line in up.output.splitlines()]
    assert any(line["process"] == "spread.0" and line["message"] == "found" for line in lines)
    assert any(line["level"] == "error" and "RecordError" in line["message"] for line in lines)
    again = start_up(tmp_path, "--drain")  # what spread emitted
    assert again.process.wait(60) == 0, again.output
    for number, stream in enumerate(streams()):
        shown = command(tmp_path, "tail", stream, "--json", "--key", "ada")
        values = [json.loads(line)["value"] for line in shown.stdout.splitlines()]
        assert values == [*orders, orders[0]], (STORED[number], shown.stdout)
        (letter,) = (
            json.loads(line) for line in command(tmp_path, "tail", f"{stream}.dead", "--json").stdout.splitlines()
        )
        assert letter["headers"]["dead-type"] == "RecordError", STORED[number]
    seen = [
        json.loads(line)["value"]["from"]
        for line in command(tmp_path, "tail", "seen", "--json", "-n", "99").stdout.splitlines()
    ]
    assert sorted(seen) == sorted(list(streams()) * 3)
    codec_changed = topology(app_name, valkey.url).replace('"codec": "msgpack"', '"codec": "json"')
    project(tmp_path, codec_changed)
    refused = command(tmp_path, "up")
    assert refused.returncode == 1
    assert "stream 's4' has 2 partitions by crc32, codec msgpack in Redis, but 2 partitions by crc32" in refused.stderr
    assert "what is stored could not be read" in refused.stderr


FEEDS = """\
name: {name}
redis: {url}
pythonpath: [.]
streams:
  posts: {{partitions: 2, key: thread, partitioner: ring}}
processors:
  feeds: {{stream: posts, handler: "blog:feeds", processes: 1}}
  alerts: {{stream: posts, handler: "blog:alerts", processes: 1}}
"""
BLOG = """\
def feeds(event):
    open("feeds.txt", "a").write(event.id + "\\n")

def alerts(event):
    open("alerts.txt", "a").write(event.id + "\\n")
"""


def test_two_deployments_of_one_file_and_replaying_one(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    text = FEEDS.format(name=app_name, url=valkey.url)
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        project(home, text, blog=BLOG)
    feeds = start_up(homes[0], "--only", "feeds").wait_ready()
    alerts = start_up(homes[1], "--only", "alerts").wait_ready()
    posts = "\n".join(json.dumps({"thread": f"t{number}", "text": "hi"}) for number in range(10))
    (tmp_path / "posts.jsonl").write_text(posts)
    assert command(homes[0], "send", "posts", "--file", str(tmp_path / "posts.jsonl")).returncode == 0

    def lines(home: Path, name: str) -> int:
        file = home / f"{name}.txt"
        return len(file.read_text().splitlines()) if file.exists() else 0

    wait_until(lambda: (lines(homes[0], "feeds"), lines(homes[1], "alerts")) == (10, 10))
    assert (lines(homes[0], "alerts"), lines(homes[1], "feeds")) == (0, 0)
    assert command(homes[0], "seek", "feeds", "--to", "-1h", "--yes").returncode == 0
    wait_until(lambda: lines(homes[0], "feeds") == 20)
    assert lines(homes[1], "alerts") == 10
    since = command(homes[0], "tail", "posts", "--since", "1h", "--json")
    assert len(since.stdout.splitlines()) == 10
    misspelt = command(homes[0], "up", "--only", "feed")
    assert misspelt.returncode == 2
    assert "no processor 'feed'" in misspelt.stderr
    assert (feeds.stop(), alerts.stop()) == (0, 0)
