"""Entries that no client of ours would write, put into the streams by hand: each is a failed event like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runnelctl.store import connect
from tests.process.ups import Up, project, status
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

#: What is wrong -> an entry's fields, and what its failure record says.
JUNK: dict[str, tuple[dict[bytes, bytes], str]] = {
    "not JSON": ({b"data": b"nope"}, "not JSON"),
    "not JSON with key": ({b"data": b"nope", b"key": b"k"}, "not JSON"),
    "not UTF-8": ({b"data": b'{"id": "\xff"}'}, "not UTF-8: byte 0xff"),
    "NaN": ({b"data": b'{"id": NaN}'}, "NaN is no JSON number"),
    "200,000 deep": ({b"data": b"[" * 200_000 + b"]" * 200_000}, "too deep"),
    "64 MiB": ({b"data": b'{"id": "' + b"x" * (64 << 20) + b'"}'}, "too large"),
    "no key field": ({b"data": b'{"ID": 1}'}, "key field 'id' is missing"),
    "no data": ({b"key": b"x"}, "it is empty"),
    "empty data": ({b"data": b""}, "it is empty"),
    "binary fields": ({b"\x00\xff\x80": b"\xfe\xff", b"h:\xff": b"\xff"}, "it is empty"),
    "binary key": ({b"data": b"nope", b"key": b"\xff\xfe"}, "not JSON"),
    "against the schema": ({b"data": b'{"id": "x", "amount": "much"}', b"key": b"x"}, 'amount: "much" is not of type'),
}
#: Odd, and still an event.
ODD = [
    {b"data": b'{"id": 1}', b"key": b"\xff\xfe"},
    {b"h:\xff": b"\xff", b"data": b'{"id": 5}'},
    {b"data": b'{"id": 7}'},
]
TOPOLOGY = """\
name: {name}
redis: {redis}
pythonpath: [.]
streams:
  orders:
    partitions: {partitions}
    key: id
    validate: both
    schema: {{type: object, properties: {{amount: {{type: number}}}}}}
  dead: {{partitions: 1}}
processors:
  billing: {{stream: orders, handler: "handlers:{handler}", processes: 1, retry: {{attempts: 2, backoff: 1ms}}, {more}}}
lease: {{ttl: 12s}}
"""
HANDLERS = """\
async def coroutine(event, ctx):
    state = ctx.state
    state["handled"] = event.value["id"]
    ctx.log.info("DONE %r", event.key)

def function(event):
    print("DONE", ascii(event.key))

async def batch(events):
    for event in events:
        print("DONE", ascii(event.key))
"""


class Place:
    """A project on the shared server, and its streams as any other client would see them."""

    def __init__(self, directory: Path, server: Server, name: str, client: Any) -> None:
        self.directory, self.server, self.name, self.client = directory, server, name, client

    def write(self, handler: str, partitions: int, more: str) -> None:
        text = TOPOLOGY.format(name=self.name, redis=self.server.url, handler=handler, partitions=partitions, more=more)
        project(self.directory, text, handlers=HANDLERS)

    def add(self, fields: dict[bytes, bytes], partition: int = 0) -> None:
        self.client.xadd(f"{{{self.name}:orders:{partition}}}:events", fields)

    def entries(self, key: str) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in self.client.xrange(f"{{{self.name}:{key}")]


@pytest.fixture
def place(start_server: Callable[..., Server], app_name: str, tmp_path: Path) -> Any:
    server = start_server("valkey", appendonly=False)  # its own: 64 MiB in a commit hold everybody else up
    with closing(connect.client(server.endpoint, timeout_ms=60_000)) as client:
        yield Place(tmp_path, server, app_name, client)


@pytest.mark.parametrize("handler", ["coroutine", "function", "batch"])
def test_ignored_and_dead_lettered(place: Place, start_up: Callable[..., Up], handler: str) -> None:
    batch = "batch: {size: 5, within: 10ms}, " if handler == "batch" else ""
    place.write(handler, 1, f"{batch}policy: IGNORE, dead_letter: dead")
    for fields, _ in JUNK.values():
        place.add(fields)
    for fields in ODD:
        place.add(fields)
    up = start_up(place.directory, "--drain")
    assert up.wait(120) == 0, up.output
    failed = [json.loads(entry[b"record"]) for entry in place.entries("orders:0}:failures:billing")]
    assert [text in record["message"] for (_, text), record in zip(JUNK.values(), failed, strict=True)] == [True] * 12
    dead = place.entries("dead:0}:events")
    assert [entry[b"data"] for entry in dead] == [fields.get(b"data", b"") for fields, _ in JUNK.values()]
    assert dead[10][b"key"] == b"\xff\xfe", "the key's own bytes"
    assert up.output.count("DONE '") == len(ODD)
    assert "defect" not in up.output
    assert "exited" not in up.output, "the slice survives"
    if handler == "coroutine":
        state = f"{{{place.name}:orders:0}}:state:billing:".encode() + b"\xff\xfe"
        assert json.loads(place.client.get(state)) == {"handled": 1}


def test_quarantined_one_by_one(place: Place, start_up: Callable[..., Up]) -> None:
    place.write("coroutine", len(JUNK) + 1, "policy: QUARANTINE")
    for partition, (fields, _) in enumerate(JUNK.values()):
        place.add(fields, partition)
    place.add(ODD[0], len(JUNK))
    up = start_up(place.directory).wait_ready(90)

    def quarantined() -> bool:
        shown = status(place.directory)["processors"]["billing"]["partitions"]
        return [p["state"] for p in shown] == ["quarantined"] * len(JUNK) + ["running"] and not shown[-1]["lag"]

    wait_until(quarantined, 60, "every partition with junk to be quarantined")
    shown = status(place.directory)["processors"]["billing"]["partitions"]
    for partition, (_, text) in zip(shown, JUNK.values(), strict=False):
        assert text in partition["error"]["message"]
        assert partition["error"]["attempts"] == 2
    assert up.stop() == 0
    assert "defect" not in up.output
    assert "exited" not in up.output


@pytest.mark.parametrize("what", ["not JSON", "binary key", "against the schema", "binary fields"])
def test_halted(place: Place, start_up: Callable[..., Up], what: str) -> None:
    place.write("coroutine", 2, "policy: HALT")
    fields, text = JUNK[what]
    place.add(fields)
    up = start_up(place.directory)
    assert up.wait() == 4, up.output
    assert text in up.output
    (record,) = [json.loads(value) for value in place.client.hgetall(f"{{{place.name}}}:halted").values()]
    assert text in record["message"]
    assert len(place.entries("orders:0}:events")) == 1
