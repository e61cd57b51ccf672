"""Mutated topology files into the loader: every one is a topology, or is refused with mistakes in words and places."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from runnelctl.topology import loading

SLOWEST_S = 5.0
_SOUND = """\
name: shop
redis: ${REDIS_URL:-embedded}
pythonpath: [.]
streams:
  orders:
    partitions: 8
    key: user.id
    schema: {type: object, properties: {user: {type: object}}, required: [user]}
    retention: {events: 1000000, age: 7d}
    capacity: 5000000
    validate: both
  orders.dead: {partitions: 1}
processors:
  billing:
    stream: orders
    handler: shop.handlers:charge
    processes: 2
    policy: QUARANTINE
    retry: {attempts: 3, backoff: 100ms, max_backoff: 10s}
    timeout: 30s
    batch: {size: 100, within: 1s}
    commit: {every: 100ms, events: 1000}
    dead_letter: orders.dead
    start: latest
    max_memory: 512MiB
defaults: {policy: IGNORE, retry: {attempts: 5}}
lease: {ttl: 6s}
drain: 30s
"""
_WORDS = (
    "null", "~", "[]", "{}", "-1", "0", "1e999", ".nan", ".inf", "0x10", "on", "no", "'8'", "1_000", "2024-01-01",
    "!!python/object:os.system x", "!!binary aGk=", "&a [*a]", "*a", "<<: {a: 1}", "|", ">", "'", "\"", "${X",
    "${A:?}", "${PATH}", "${A:-${B}}", "\t", "\x00", "\u2028", "\ud7ff", "? a", "---", "...", "%YAML 9.9", "{" * 40,
    "[" * 40, "9" * 400, "a" * 5000, "orders", "billing", "5 s", "100ms", "1h30m", "-5m", "99999999999999999999d",
    "include: ['**']", "include: [topology.yaml]", "schema: no.json", "http://x/y", "ring", "HALT",
)  # fmt: skip


def mutated(rng: random.Random) -> bytes:
    """A topology file's bytes, some of them sound."""
    lines = _SOUND.split("\n")
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at = rng.randrange(len(lines))
        change = rng.randrange(9)
        if change == 0:
            del lines[at : at + rng.randint(1, 3)]
            lines = lines or [""]
        elif change == 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif change == 2:
            lines[at] = lines[at].split(":")[0] + ": " + rng.choice(_WORDS)
        elif change == 3:
            lines[at] = " " * rng.randrange(12) + lines[at].strip()
        elif change == 4:
            lines.insert(at, " " * rng.randrange(8) + rng.choice(_WORDS))
        elif change == 5 and lines[at]:
            place = rng.randrange(len(lines[at]))
            lines[at] = (
                lines[at][:place]
                + chr(rng.choice([rng.randrange(1, 127), rng.randrange(128, 0xD7FF)]))
                + lines[at][place:]
            )
        elif change == 6 and lines[at]:
            place = rng.randrange(len(lines[at]))
            lines[at] = lines[at][:place] + lines[at][place + rng.randrange(4) :]
        elif change == 7:
            lines[at] = lines[at].replace(": ", ": " + rng.choice(_WORDS) + " ", 1)
        else:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.randbytes(rng.randrange(1, 20)) + data[at:]
    return data


def load(count: int, seed: int) -> dict[str, float]:
    """Load so many. Raises AssertionError for one that fails in any other way than in words, or takes too long."""
    rng, sound, refused, slowest = random.Random(seed), 0, 0, 0.0
    with tempfile.TemporaryDirectory(prefix="rct-fuzz-") as directory:
        file = Path(directory) / "topology.yaml"
        for number in range(count):
            data = mutated(rng)
            file.write_bytes(data)
            began = time.monotonic()
            try:
                found = loading.examine(file, environ={})
            except Exception as error:
                raise AssertionError(
                    f"topology {number} of seed {seed}: {error!r}:\n{data.decode(errors='replace')}"
                ) from error
            took = time.monotonic() - began
            slowest = max(slowest, took)
            assert took < SLOWEST_S, (
                f"topology {number} of seed {seed} took {took:.1f} s:\n{data.decode(errors='replace')}"
            )
            for problem in found.problems:
                assert problem.message and problem.line > 0, f"topology {number} of seed {seed}: {problem}"
            assert (found.topology is None) == bool(found.problems), f"topology {number} of seed {seed}: {found}"
            sound, refused = sound + (found.topology is not None), refused + (found.topology is None)
    return {"sound": sound, "refused": refused, "slowest_ms": round(slowest * 1000, 1)}
