"""`replay --from-dead-letter`: dead letters go back to the processor that failed them, in order, each once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import click
import msgspec

from runnelctl import errors
from runnelctl.cli import consent, resuming, unparking
from runnelctl.core import parking
from runnelctl.core.letters import Letter
from runnelctl.core.model import Topology
from runnelctl.core.status import printable
from runnelctl.errors import RecordError
from runnelctl.event import Source
from runnelctl.records import codec_for
from runnelctl.runtime import mending
from runnelctl.runtime.reopening import Reopening
from runnelctl.store import connect, letters, operations
from runnelctl.store.backlog import Place
from runnelctl.store.letters import Found
from runnelctl.store.parked import ParkedKey
from runnelctl.store.reach import Reached

ALL = "*"  # --from-dead-letter without a name
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: of these streams, of these processors (and the one partition that is meant, or None), of this key
    if there is one."""

    streams: dict[str, int]
    chosen: dict[str, int | None]
    key: str | None


def wanted(of: Topology, named: str, chosen: dict[str, int | None], key: str | None) -> Wanted:
    """The dead letter streams that are meant. Raises UsageError for one that no processor has."""
    known: dict[str, int] = {}
    for processor in of.processors.values():
        name = mending.dead_letter_of(of, processor.name)
        stream = of.streams.get(name) or of.streams[processor.stream]  # what `--skip` fills need not be declared
        known[name] = stream.partitions
    if named == ALL:
        return Wanted(known, chosen, key)
    if named not in known:
        hint = (
            f"; to name a processor, write it first: replay {named} --from-dead-letter"
            if named in of.processors
            else ""
        )
        raise errors.UsageError(f"{named!r} is no dead letter stream; there are {', '.join(known)}{hint}")
    return Wanted({named: known[named]}, chosen, key)


def replay(
    of: Topology, reached: Reached, what: Wanted, *, dry_run: bool, yes: bool, reason: str, as_json: bool
) -> int:  # fmt: skip
    """List them, ask, take them back and see it through. Returns the exit code."""
    with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
        found = {stream: letters.find(client, of, stream, number) for stream, number in what.streams.items()}
    some = [
        (number, letter, _key(of, letter))
        for each in found.values()
        for number, letter in each.waiting
        if letter.processor in what.chosen and what.chosen[letter.processor] in (None, letter.partition)
    ]
    some = [each for each in some if what.key is None or each[2] == what.key]
    _list(of, found, some, as_json=as_json)
    if dry_run or not some:
        return errors.EXIT_OK
    count = "1 dead letter" if len(some) == 1 else f"{len(some):,} dead letters"
    if not consent.given(f"take back {count}?", "take them back", yes=yes):
        return errors.EXIT_ERROR
    return _Return(of, reached, reason).all(some, found)


class _Return:
    """Takes letters back in as many rounds as `max_parked` makes necessary."""

    def __init__(self, of: Topology, reached: Reached, reason: str) -> None:
        self._of, self._reached = of, reached
        self._who, self._reason = mending.who(), reason
        about = {"time": mending.now(), "who": self._who, "reason": reason}
        self._request = msgspec.json.encode(about).decode()

    def all(self, some: list[tuple[int, Letter, str]], found: dict[str, Found]) -> int:
        code, taken, left = errors.EXIT_OK, 0, some
        while left and not code:
            scene = resuming.survey(self._of, self._reached, list(dict.fromkeys(each[1].processor for each in left)))
            parked, left = self._round(left)
            if not parked:
                break  # somebody else takes the same letters back, and is not done yet
            taken += sum(parked.values())
            code = resuming.resume(self._of, self._reached, scene, [], parked)
        with connect.client(self._reached.endpoint) as client, connect.translated(self._reached.endpoint):
            again = unparking.parked_again(client, self._of, self._keys(some))
            dead = [
                letter
                for stream, each in found.items()
                for letter in letters.since(client, self._of, stream, each.ends)
                if letter.event_id in {given.event_id for _, given, _ in some}
            ]
        click.echo(f"took back {taken:,} dead letter(s)", err=True)
        if dead:
            click.echo(f"{len(dead):,} failed again and are dead letters again", err=True)
        return code or (errors.EXIT_ERROR if again or dead or left else errors.EXIT_OK)

    def _round(self, some: list[tuple[int, Letter, str]]) -> tuple[dict[Place, int], list[tuple[int, Letter, str]]]:
        """Give back as many as there is room for; how many went where, and those that are left."""
        went: Counter[Place] = Counter()
        left: list[tuple[int, Letter, str]] = []
        full: set[Place] = set()
        with connect.client(self._reached.endpoint) as client, connect.translated(self._reached.endpoint):
            for number, letter, key in some:
                place = letter.processor, letter.partition
                answer = "FULL" if place in full else letters.give_back(
                    client, self._of, number, letter, key, self._request
                )  # fmt: skip
                if answer == "FULL":
                    full.add(place)
                    left.append((number, letter, key))
                elif answer == "OK":
                    went[place] += 1
            for (processor, partition), count in went.items():
                operations.audit(
                    client, self._of, who=self._who, what="from dead letter", processor=processor,
                    partition=str(partition), events=str(count), reason=self._reason, time=mending.now(),
                )  # fmt: skip
            operations.announce(client, self._of, "replay", by=self._who)
        return dict(went), left

    def _keys(self, some: Sequence[tuple[int, Letter, str]]) -> list[Reopening]:
        keys = {(letter.processor, letter.partition, key) for _, letter, key in some}
        return [Reopening(ParkedKey(*each, {}, 0, False), True, 0, "") for each in keys]


def _key(of: Topology, letter: Letter) -> str:
    """The key that its event is parked under: its own, or that of its record. An event without one waits for nobody:
    it is parked under its id."""
    if letter.key:
        return letter.key
    codec, element = codec_for(of.streams[of.processors[letter.processor].stream]), parking.unpack(letter.element)
    source = Source(codec.stream.name, letter.partition, codec.decode, codec.key_of)
    try:
        return codec.event(element.event_id, element.fields, source).key or letter.event_id
    except (RecordError, UnicodeError):
        return letter.event_id


def _list(of: Topology, found: dict[str, Found], some: Sequence[tuple[int, Letter, str]], *, as_json: bool) -> None:
    if as_json:
        shown = [
            {
                "stream": letter.stream, "partition": number, "id": letter.letter_id, "key": key,
                "error": letter.record() | {"key": key},
            }
            for number, letter, key in some
        ]  # fmt: skip
        text = json.dumps({"schema_version": 1, "topology": of.name, "dead_letters": shown}, ensure_ascii=False)
        click.echo(text.encode("utf-8", "backslashreplace").decode())
    else:
        for number, letter, key in some[:_SHOWN]:
            why = printable(" ".join(f"{letter.headers.get('type', '')}: {letter.headers.get('message', '')}".split()))
            click.echo(
                f"{letter.stream}/{number} {letter.letter_id}  {letter.processor}:{letter.partition} "
                f"event {letter.event_id} key {printable(key)!r}  {why[:120]}"
            )
        if len(some) > _SHOWN:
            click.echo(f"… and {len(some) - _SHOWN:,} more")
    for stream, each in found.items():
        parts = [f"{len(each.waiting):,} dead letter(s)", f"{each.returned:,} taken back before"]
        if each.foreign:
            parts.append(f"{each.foreign:,} entries of no processor here")
        click.echo(f"{stream}: {', '.join(parts)}", err=True)
