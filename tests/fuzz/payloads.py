"""A million payloads: most through what a slice does with an entry, in this process; the rest through a real `up`."""

from __future__ import annotations

import random
import resource
import shutil
import tempfile
import time
from pathlib import Path

from runnelctl import errors
from runnelctl.core.model import Stream, Validate
from runnelctl.core.plan import Unit
from runnelctl.records import codec_for
from runnelctl.runtime import workload
from runnelctl.store import connect
from tests.fuzz.junk import Entry, entry
from tests.process.ups import Up, project
from tests.servers import Server, binary

PARTITIONS = 8
SCHEMA = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}
#: Every codec and a compression, JSON first and most.
STREAMS = [
    Stream(name="orders", partitions=8, key="id", schema=SCHEMA, validate=Validate.BOTH),
    Stream(name="orders", partitions=8, key="id"),
    Stream(name="orders", partitions=8, key="id", codec="msgpack"),
    Stream(name="orders", partitions=8, key="id", codec="fields"),
    Stream(name="orders", partitions=8, key="id", compression="gzip"),
]
TOPOLOGY = """\
name: {name}
redis: {redis}
pythonpath: [.]
streams:
  orders:
    partitions: 8
    key: id
    validate: both
    schema: {{type: object, properties: {{amount: {{type: number}}}}, required: [amount]}}
processors:
  billing: {{stream: orders, handler: "handlers:touch", processes: 2, policy: IGNORE, retry: {{attempts: 1}}}}
"""
HANDLERS = """\
async def touch(event, ctx):
    event.value, event.key, event.headers, event.raw, event.timestamp
    ctx.state["seen"] = ctx.state.get("seen", 0) + 1
"""


def flat(fields: Entry) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]


def in_process(count: int, seed: int) -> dict[str, int]:
    """Look at so many entries as a handler would. How many were records, and how many were refused in words.

    Raises AssertionError for one that fails in any other way.
    """
    sources = [workload.source(Unit(0, "billing", "orders", 0), codec_for(stream)) for stream in STREAMS]
    rng, sound, refused = random.Random(seed), 0, 0
    for number in range(count):
        fields = entry(rng)
        (event,) = sources[number % len(sources)].events([[b"1-1", flat(fields)]])
        try:
            _ = event.value, event.key, event.headers, event.raw
            sound += 1
        except errors.RecordError as error:
            assert str(error), f"payload {number} of seed {seed} is refused without a word: {fields}"
            refused += 1
        except Exception as error:
            raise AssertionError(f"payload {number} of seed {seed}: {error!r}: {fields}") from error
    return {"sound": sound, "refused": refused}


def through_up(count: int, seed: int) -> dict[str, object]:
    """Write so many entries past the client, and let a real `up` pass them all under IGNORE.

    Raises AssertionError unless every process lived, and every event was passed over or handled, once.
    """
    path = binary("valkey") or binary("redis")
    assert path is not None, "no server is installed"
    server, directory = Server(path), Path(tempfile.mkdtemp(prefix="rct-fuzz-"))
    try:
        server.start()
        name = f"fuzz{seed}"
        project(directory, TOPOLOGY.format(name=name, redis=server.url), handlers=HANDLERS)
        _fill(server, name, count, seed)
        began = time.monotonic()
        up = Up(directory, "--drain")
        try:
            code = up.wait(600)
        finally:
            up.close()
        took = time.monotonic() - began
        output = up.output
        assert code == 0, f"up exited {code}:\n{output[-4000:]}"
        for word in ("defect", "restarting it", "starting another"):  # a slice, or the keeper, died
            assert word not in output, f"{word!r} in what up said:\n{output[-4000:]}"
        passed = _passed(server, name)
        assert passed == count, f"{count} entries were written, {passed} are passed"
        return {"passed": passed, "seconds": round(took, 1)}
    finally:
        server.close()
        shutil.rmtree(directory, ignore_errors=True)


def _fill(server: Server, name: str, count: int, seed: int) -> None:
    rng, left = random.Random(seed), count
    with connect.client(server.endpoint) as client:
        while left:
            pipe = client.pipeline(transaction=False)
            for _ in range(min(left, 1_000)):
                pipe.xadd(f"{{{name}:orders:{rng.randrange(PARTITIONS)}}}:events", entry(rng))  # type: ignore[arg-type]
            pipe.execute()
            left -= min(left, 1_000)


def _passed(server: Server, name: str) -> int:
    """Events at or before the cursors, where every cursor stands at the end of its partition."""
    total = 0
    with connect.client(server.endpoint) as client:
        for partition in range(PARTITIONS):
            tag = f"{{{name}:orders:{partition}}}"
            own, last = client.hgetall(f"{tag}:own:billing"), client.xrevrange(f"{tag}:events", count=1)
            if last:
                assert own[b"cursor"] == last[0][0], f"{tag} stands at {own[b'cursor']}, its end is {last[0][0]}"
                assert b"block" not in own, own
                total += int(own[b"count"])
    return total


def memory_mib() -> float:
    """The most that this process had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
