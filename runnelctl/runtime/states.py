"""The state mappings of one partition, as last committed or about to be: what is behind `ctx.state`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from runnelctl import errors
from runnelctl.store.wire import Argument, ConnectionLost, ReplyError

if TYPE_CHECKING:
    from runnelctl.runtime.committer import Link

STATES_KEPT = 10_000
STATE_BYTES_KEPT = 16 * 1024 * 1024  # of a lane: texts, and for each what it takes beside its text
STATE_BYTES_OF_ALL = 128 * 1024 * 1024  # of all lanes of a slice: with many, each keeps less
STATE_BYTES = 700
RUN_EVENTS = 1_000  # states so large that not so many may be needed together are measured more often
UNKNOWN_STATE_BYTES = 64 * 1024  # the guess before anything is known of their size

#: One effect as lua/commit.lua takes it, with keys' names where the script has their numbers.
Effect = tuple[str, str, tuple[Argument, ...]]

_encode = msgspec.json.Encoder().encode


class StateUnavailable(errors.RedisUnreachable):
    """`ctx.state` could not be read, since Redis was away: nothing that the event or its handler did."""


class _Names(dict[str, str]):
    """What the states of event keys are called in Redis, for those that are kept and were written."""

    def __init__(self, make: Callable[[str], str]) -> None:
        self.make = make

    def __missing__(self, key: str) -> str:
        name = self[key] = self.make(key)
        return name


class States:
    """See the module. Valid as long as the lease is.

    With `ttl_ms` a state lives for so long after the last event that used it: each use writes it anew. What is kept
    here has its deadline too, so that an old state is gone here when it is gone in Redis.

    Memory is bounded between runs. What texts take is not counted per event: what was read and committed since they
    were measured is an upper bound of how much they grew, and near a bound they are measured.
    """

    def __init__(
        self, name: Callable[[str], str], fetch: Callable[[str], bytes | None], ttl_ms: int | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        self._names = _Names(name)
        self._fetch = fetch
        self._ttl_ms, self._now = ttl_ms, now
        self.expire = ttl_ms is not None  # whether states have a time to live
        self._texts: dict[str, bytes | None] = {}
        self._values: dict[str, dict[str, Any]] = {}
        self._until: dict[str, float] = {}  # only with a ttl: until when the text is valid
        self._bytes = self._grown = 0  # when they were measured, and at the most what came since
        self._mean: float = UNKNOWN_STATE_BYTES
        self._least = self._least_bytes = 0  # so much may be kept, since so much had to be
        self.used = False

    def missing(self, wanted: set[str]) -> list[str]:
        """Those of the event keys `wanted` whose state has to be read before the events run."""
        known = self._until if self.expire else self._texts
        return [key for key in wanted if key not in known]

    def fill(self, key: str, text: bytes | None, left_ms: int = -1) -> None:
        """Take what Redis has stored for an event key, and how long it will have it; below 0: for ever."""
        self._texts[key] = text
        self._grown += STATE_BYTES + (len(text) if text else 0)
        if self.expire:
            self._values.pop(key, None)
            self._until[key] = math.inf if left_ms < 0 or text is None else self._now() + left_ms / 1000

    def redis_key(self, key: str) -> str:
        return self._names.make(key)

    def begin(self, key: str) -> dict[str, Any]:
        """As `open`, for an event that has not opened it yet: what is over by now is forgotten first."""
        if self.expire and self._now() >= self._until.get(key, math.inf):
            self._values.pop(key, None)
            self._texts[key], self._until[key] = None, math.inf
        return self.open(key)

    def open(self, key: str) -> dict[str, Any]:
        """The mapping of an event key, to be read and changed at will. The first use ever reads it on the spot."""
        value = self._values.get(key)
        if value is None:
            self.used = True
            if key not in self._texts:
                self._texts[key] = self._fetch(self.redis_key(key))
                self._grown += STATE_BYTES
            text = self._texts[key]
            value = self._values[key] = {} if text is None else msgspec.json.decode(text)
        return value

    def settled(self, opened: Mapping[str, dict[str, Any]]) -> list[Effect]:
        """After an event went well: what the mappings that it opened need written. Raises RecordError if one of them
        can't be stored; none is taken then, since the event failed."""
        # Of several the last may be the bad one: all are encoded first.
        all_texts = {key: _text(key, value) for key, value in opened.items()} if len(opened) > 1 else None
        texts, expire = self._texts, self.expire
        effects: list[Effect] = []
        for key, value in opened.items():
            text = _text(key, value) if all_texts is None else all_texts[key]
            before = texts.get(key)
            if expire:
                self._until[key] = math.inf if text is None else self._now() + (self._ttl_ms or 0) / 1000
                if text is not None:  # each use lets it live on
                    texts[key] = text
                    effects.append(("T", self._names[key], (text, self._ttl_ms or 0)))
                    continue
            if text != before:
                texts[key] = text
                effects.append(("S", self._names[key], (text,)) if text is not None else ("D", self._names[key], ()))
        return effects

    def discard(self, key: str) -> None:
        """After an attempt failed: forget what it did to the mapping."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """Forget everything: the lease is another one, or history changed."""
        self._texts.clear()
        self._values.clear()
        self._until.clear()
        self._names.clear()
        self._bytes = self._grown = self._least = self._least_bytes = 0

    # --- memory, between runs

    def grew(self, size: int) -> None:
        """Effects of so many bytes were made; what they wrote is kept here."""
        self._grown += size

    def at_once(self, lanes: int) -> int:
        """How many may be needed together in a slice of so many lanes, by what is known of their size."""
        return max(1, int(_bytes_kept(lanes) / self._mean))

    def heavy(self, lanes: int) -> bool:
        """Whether it is time to forget some, in a slice of so many lanes. Asked once per run."""
        kept, bound, size = len(self._texts), _bytes_kept(lanes), self._bytes + self._grown
        if self._grown > self._bytes // 8 and size * max(kept, RUN_EVENTS) > bound * kept:
            self._measure()
            size = self._bytes
        if kept:  # larger states are believed at once, smaller ones step by step
            self._mean = max(size / kept, self._mean / 2)
        return kept > max(STATES_KEPT, self._least) or size > max(bound, self._least_bytes)

    def prune(self, needed: Collection[Argument]) -> None:
        """Forget all but those that are `needed`, by their keys in Redis: the others can be read again. Only when no
        handler is at work on one of the others."""
        for key in list(self._texts):  # one by one: with `order: key`, threads look up others at the same time
            if self.redis_key(key) not in needed:
                del self._texts[key]
                self._values.pop(key, None)
                self._until.pop(key, None)
                self._names.pop(key, None)
        self._measure()
        self._least, self._least_bytes = 2 * len(self._texts), 2 * self._bytes

    def _measure(self) -> None:
        self._bytes = sum(map(len, filter(None, list(self._texts.values())))) + STATE_BYTES * len(self._texts)
        self._grown = 0


def _text(key: str, value: dict[str, Any]) -> bytes | None:
    """What is stored of a mapping; nothing of an empty one."""
    try:
        return _encode(value) if value else None
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise errors.RecordError(f"ctx.state of key {key!r} cannot be stored as JSON: {error}") from error


def _bytes_kept(lanes: int) -> int:
    return min(STATE_BYTES_KEPT, STATE_BYTES_OF_ALL // max(1, lanes))


async def load(link: Link, states: States, keys: set[str]) -> None:
    """Read the states of these event keys, in one round trip; asks until Redis answers."""
    wanted = states.missing(keys)
    names = [states.redis_key(key) for key in wanted]
    while wanted:
        wire = await link.get()
        try:
            asked = [wire.call("MGET", *names)]
            asked += [wire.call("PTTL", name) for name in names if states.expire]
            texts, *left = await asyncio.gather(*asked)
        except (ConnectionLost, ReplyError):
            link.drop()
            await asyncio.sleep(0.2)
            continue
        missing = set(states.missing(keys))  # a handler may have read and changed one meanwhile
        for index, key in enumerate(wanted):
            if key in missing:
                states.fill(key, texts[index], left[index] if left else -1)
        return
