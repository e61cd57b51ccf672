"""Dead letters in Redis: finding those that did not come back yet, and giving them back, each once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from runnelctl.core import keys, letters
from runnelctl.core.letters import Letter
from runnelctl.core.model import Topology
from runnelctl.store.scripts import run, script

PAGE = 500


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter stream's letters up to some moment, oldest first; how many came back before, and how many entries
    are no letters of a processor of the topology. `ends` is each partition's last entry at that moment."""

    waiting: list[tuple[int, Letter]]
    returned: int
    foreign: int
    ends: Mapping[int, bytes]


def find(client: redis.Redis, topology: Topology, stream: str, partitions: int) -> Found:
    """Read a dead letter stream. Raises redis-py's errors."""
    waiting: list[tuple[int, Letter]] = []
    returned = foreign = 0
    ends: dict[int, bytes] = {}
    for number in range(partitions):
        for page in _pages(client, keys.events(topology.name, stream, number)):
            ends[number] = page[-1][0]
            read = [letters.read(topology, stream, entry_id, _flat(fields)) for entry_id, fields in page]
            some = [letter for letter in read if letter is not None]
            back = _returned(client, topology, number, some)
            waiting += [(number, letter) for letter, was in zip(some, back, strict=True) if not was]
            returned, foreign = returned + sum(back), foreign + len(read) - len(some)
    return Found(waiting, returned, foreign, ends)


def since(client: redis.Redis, topology: Topology, stream: str, ends: Mapping[int, bytes]) -> list[Letter]:
    """The letters that came after `ends`."""
    found: list[Letter] = []
    for number, end in ends.items():
        for page in _pages(client, keys.events(topology.name, stream, number), b"(" + end):
            read = [letters.read(topology, stream, entry_id, _flat(fields)) for entry_id, fields in page]
            found += [letter for letter in read if letter is not None]
    return found


def give_back(client: redis.Redis, topology: Topology, number: int, letter: Letter, key: str, request: str) -> str:
    """Park the letter's event under `key`, to be replayed. Returns OK, DONE or FULL, as lua/letter_return.lua says."""
    where = _where(topology, letter)
    names = (
        keys.own(*where), keys.parked(*where), _bytes(keys.parked_events(*where, key)), keys.replaying(*where),
        keys.returned(*where),
    )  # fmt: skip
    bounds = topology.processors[letter.processor].max_parked
    record = msgspec.json.encode(letter.record() | {"key": _bytes(key).decode("utf-8", "backslashreplace")})
    args = (
        _bytes(key), letter.mark(number), request, letter.element, record, bounds.events, bounds.size_bytes
    )  # fmt: skip
    return str(run(client, script("letter_return"), names, args)[0].decode())


def _pages(client: Any, name: str, start: bytes = b"-") -> Iterator[list[Any]]:
    """Up to the end that there was at the start: what comes back may fail and come here again."""
    newest = client.xrevrange(name, count=1)
    while newest:
        page = client.xrange(name, min=start, max=newest[0][0], count=PAGE)
        if page:
            yield page
            start = b"(" + page[-1][0]
        if len(page) < PAGE:
            return


def _returned(client: Any, topology: Topology, number: int, some: Sequence[Letter]) -> list[bool]:
    with client.pipeline(transaction=False) as pipe:
        for letter in some:
            pipe.sismember(keys.returned(*_where(topology, letter)), letter.mark(number))
        return [bool(each) for each in pipe.execute()]


def _where(topology: Topology, letter: Letter) -> tuple[str, str, int, str]:
    return topology.name, topology.processors[letter.processor].stream, letter.partition, letter.processor


def _flat(fields: Mapping[bytes, bytes]) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
