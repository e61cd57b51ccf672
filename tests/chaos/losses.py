"""What makes Redis lose something that it had taken. Each says in its note what may be gone, so that the judge can hold
the product to everything else: `cut`, from when on what was acknowledged may be lost; `lost`, which entries are.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.chaos import leavings
from tests.chaos.steps import POLL_S, Nemesis, Steps, steps
from tests.chaos.world import World

#: What an operator does about whatever is parked, again and again.
REPLAY = ("replay", "sink", "--yes", "--reason", "chaos, mended")
_NOTICE_S = 30.0
_REPLAY_S = 90.0
_MULTI, _EXEC = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"

# KEYS events, own; ARGV the id up to which the caller knows all entries, how many unread ones to remove, maxlen | xdel.
# Returns {cursor, entries removed that the caller does not know}.
_REMOVE = """
local cursor = redis.call('HGET', KEYS[2], 'cursor')
local unread = redis.call('XRANGE', KEYS[1], '(' .. cursor, '+', 'COUNT', ARGV[2])
if #unread == 0 then return {cursor, {}} end
local last = unread[#unread][1]
if ARGV[3] == 'xdel' then
  for _, entry in ipairs(unread) do redis.call('XDEL', KEYS[1], entry[1]) end
  return {cursor, unread}
end
local unknown = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], last)
redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', #redis.call('XRANGE', KEYS[1], '(' .. last, '+'))
return {cursor, unknown}
"""


def failover(world: World, rng: random.Random) -> Steps:
    """A replica that was cut off while everybody went on writing is promoted; the old primary is gone."""
    apart_s = rng.uniform(0.05, 1.0)

    def body(note: dict[str, Any]) -> Steps:
        until = time.monotonic() + 20
        cut, written = time.monotonic_ns(), world.backend.written()
        while not world.backend.follows(written):
            if time.monotonic() > until:
                note["skipped"] = "the replica does not follow"
                return
            yield POLL_S
        note |= {"at": time.monotonic_ns(), "cut": cut}
        world.backend.part()
        try:
            yield apart_s
        finally:
            world.backend.switch()

    yield from steps(world, "failover", ["redis"], body)


def spare_transactions(file: Path) -> None:
    """Let an append-only file break off before a transaction, if it does so in one.

    Redis 7.0 cuts such a file behind the last command that is whole, also within a transaction. What is left of that
    is not executed at this start, but at the next, together with what follows: half of a script. `redis-check-aof
    --fix` and Valkey 9.1 cut before the transaction.
    """
    text = file.read_bytes()
    begin = text.rfind(_MULTI)
    if begin > text.rfind(_EXEC):
        os.truncate(file, begin + 3)  # within its MULTI


def torn_tail(world: World, rng: random.Random) -> Steps:
    """Redis dies with the machine: the end of its append-only file never reached the disk, and it breaks off within a
    command."""
    apart_s, beyond = rng.uniform(0.05, 1.0), rng.randrange(1, 400)

    def body(note: dict[str, Any]) -> Steps:
        file = world.backend.newest_file()
        kept, at = file.stat().st_size, time.monotonic_ns()
        try:
            yield apart_s
        finally:
            world.redis.kill()
            size = file.stat().st_size if file.exists() else 0
            if world.backend.newest_file() == file and size > kept:
                os.truncate(file, min(kept + beyond, size - 1))
                if world.options.server == "redis":
                    spare_transactions(file)
                note |= {"cut": at, "bytes": size - file.stat().st_size}
            world.redis.start()

    yield from steps(world, "torn-tail", ["redis"], body)


def removal(name: str, how: str) -> Nemesis:
    """A stranger trims a stream or deletes entries that nobody has read; an operator accepts the loss."""

    def nemesis(world: World, rng: random.Random) -> Steps:
        partition, most = rng.randrange(world.options.partitions), rng.randint(1, 5)
        tag = f"{{chaos:events:{partition}}}"

        def body(note: dict[str, Any]) -> Steps:
            note["partition"] = partition
            with contextlib.closing(world.client()) as client:
                known = _save_read(world, client, tag, partition) if how == "maxlen" else "0-0"
                removed: list[tuple[str, dict[bytes, bytes]]] = []
                until = time.monotonic() + 10
                while not removed and time.monotonic() < until:
                    reply: Any = client.eval(_REMOVE, 2, f"{tag}:events", f"{tag}:own:sink", known, str(most), how)
                    removed = [(entry.decode(), _fields(flat)) for entry, flat in reply[1]]
                    yield 0.01
                leavings.note_taken(world.note, "events", partition, removed)
                if removed:
                    yield from _notice(world, client, f"{tag}:own:sink", [entry for entry, _ in removed], note)
                    note["end"] = time.monotonic_ns()
            if note.get("lost"):
                yield from operator(world, note, "replay", f"sink:{partition}", "--yes", "--reason", "chaos")

        yield from steps(world, name, ["redis"], body)

    return nemesis


def del_own(world: World, rng: random.Random) -> Steps:
    """A stranger deletes the own hash of a partition; an operator lets it go on from where its group is."""
    partition = rng.randrange(world.options.partitions)
    own = f"{{chaos:events:{partition}}}:own:sink"

    def body(note: dict[str, Any]) -> Steps:
        note["partition"] = partition
        with contextlib.closing(world.client()) as client:
            pipe = client.pipeline(transaction=True)
            pipe.hmget(own, "cursor", "count")
            pipe.delete(own)
            was = pipe.execute()[0]
            until = time.monotonic() + min(_NOTICE_S, world.options.settle_s)
            while not client.hexists(own, "block") and time.monotonic() < until:
                yield POLL_S
            *now, record = client.hmget(own, "cursor", "count", "block")
            note["moved"] = [str(was), str(now)] if now != was else []
            note["unsaid"] = record is None or json.loads(record)["kind"] != "position lost"
            note["end"] = time.monotonic_ns()
        yield from operator(world, note, "replay", f"sink:{partition}", "--yes", "--reason", "chaos")

    yield from steps(world, "del-own", ["redis"], body)


def _save_read(world: World, client: Any, tag: str, partition: int) -> str:
    """Write down what has been read, since it is going to be removed; returns up to where."""
    cursor: str = client.hget(f"{tag}:own:sink", "cursor").decode()
    entries = [(entry.decode(), fields) for entry, fields in leavings.entries(client, f"{tag}:events", cursor)]
    leavings.note_taken(world.note, "events", partition, entries)
    return cursor


def _fields(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _id(text: str) -> tuple[int, int]:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq)


def _notice(world: World, client: Any, own: str, removed: list[str], note: dict[str, Any]) -> Steps:
    """Wait until the partition stops over it, or has passed it without a word."""
    until = time.monotonic() + min(_NOTICE_S, world.options.settle_s)
    while time.monotonic() < until:
        cursor, block = client.hmget(own, "cursor", "block")
        if block is not None:
            record = json.loads(block)
            note["said"] = record.get("lost", 0)
            note["lost"] = [entry for entry in removed if _id(entry) > _id(cursor.decode())]
            return
        yield POLL_S
    cursor = client.hget(own, "cursor")
    note["passed"] = [entry for entry in removed if _id(entry) <= _id(cursor.decode())]


def operator(world: World, note: dict[str, Any], *command: str) -> Steps:
    """Run a command of ours as somebody on another machine would; how it ended goes into the note."""
    with (world.directory / "operator.out").open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "runnelctl", *command, "-t", str(world.topology)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=world.directory, env=world.environment("operator"),
        )  # fmt: skip
    until, fair = time.monotonic() + _REPLAY_S, {0}
    if command[0] == "restart" or command == REPLAY:
        fair.add(1)  # it may say, rightly, that a host was lost under its hands, or that something failed again
    try:
        while process.poll() is None and time.monotonic() < until:
            if 1 in fair and "redis" in world.claims:
                fair.add(69)  # or that it can't reach Redis, which another injection is at
            yield POLL_S
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    note["operator"] = [" ".join(command), process.returncode]
    note["operator_done"] = process.returncode in fair


ALL: dict[str, Nemesis] = {
    "failover": failover, "torn-tail": torn_tail, "trim": removal("trim", "maxlen"), "xdel": removal("xdel", "xdel"),
    "del-own": del_own,
}  # fmt: skip
