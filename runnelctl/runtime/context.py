"""What a handler may do besides returning: emit records, keep state, log. Everything is held back until the event is
done, and goes into Redis in the event's own commit or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from runnelctl import errors
from runnelctl.core import keys
from runnelctl.event import Event
from runnelctl.records import Codec, header_fields
from runnelctl.store.wire import Argument

STATES_KEPT = 10_000

#: One effect as lua/commit.lua takes it, with the key's name where the script has the key's number.
Effect = tuple[str, str, tuple[Argument, ...]]


class StateUnavailable(errors.RedisUnreachable):
    """`ctx.state` could not be read, since Redis was away: nothing that the event or its handler did."""


class States:
    """The state mappings of one partition, as last committed or about to be. Valid as long as the lease is."""

    def __init__(self, name: Callable[[str], str], fetch: Callable[[str], bytes | None]) -> None:
        self._name = name
        self._fetch = fetch
        self._texts: dict[str, bytes | None] = {}
        self._values: dict[str, dict[str, Any]] = {}
        self.used = False

    def missing(self, wanted: set[str]) -> list[str]:
        """Those of the event keys `wanted` whose state has to be read before the events run."""
        return [key for key in wanted if key not in self._texts]

    def fill(self, key: str, text: bytes | None) -> None:
        """Take what Redis has stored for an event key."""
        self._texts[key] = text

    def redis_key(self, key: str) -> str:
        return self._name(key)

    def open(self, key: str) -> dict[str, Any]:
        """The mapping of an event key, to be read and changed at will. The first use ever reads it on the spot."""
        value = self._values.get(key)
        if value is None:
            self.used = True
            if key not in self._texts:
                self._texts[key] = self._fetch(self._name(key))
            text = self._texts[key]
            value = self._values[key] = {} if text is None else msgspec.json.decode(text)
        return value

    def encoded(self, key: str) -> bytes | None:
        """What is to be stored of an opened mapping; None for an empty one. Raises RecordError if it can't be."""
        value = self._values[key]
        try:
            return msgspec.json.encode(value) if value else None
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise errors.RecordError(f"ctx.state of key {key!r} cannot be stored as JSON: {error}") from error

    def settle(self, key: str, text: bytes | None) -> Effect | None:
        """After an event went well: what its state needs written, if it changed."""
        if text == self._texts.get(key):
            return None
        self._texts[key] = text
        return ("D", self._name(key), ()) if text is None else ("S", self._name(key), (text,))

    def discard(self, key: str) -> None:
        """After an attempt failed: forget what it did to the mapping."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """Forget everything: the lease is another one, or history changed."""
        self._texts.clear()
        self._values.clear()

    def prune(self) -> None:
        """Keep memory bounded; only called when nothing is uncommitted, so that everything can be read again."""
        if len(self._texts) > STATES_KEPT:
            self.clear()


class Context:
    """Given to handlers as `ctx`. One per partition; it belongs to the event that is being handled."""

    def __init__(
        self,
        *,
        topology: str,
        processor: str,
        partition: int,
        epoch: int,
        log: logging.LoggerAdapter[logging.Logger],
        codecs: Mapping[str, Codec],
        capacities: Mapping[str, int],
        states: States,
    ) -> None:
        self.processor = processor
        self.partition = partition
        #: A fencing token: unique for every change of ownership, and rising. Give it to your own database.
        self.epoch = epoch
        self.log = log
        self._topology = topology
        self._codecs = codecs
        self._capacities = capacities
        self._states = states
        self.event: Event | None = None  # the one in the handler; None in a batch
        self.emits: list[Effect] = []
        self.opened: set[str] = set()
        self.touched = False

    def emit(
        self, stream: str, record: Any, key: str | None = None, headers: Mapping[str, str | bytes] | None = None
    ) -> None:
        """Append `record` to `stream` when, and only if, this event is committed.

        `key` overrides the record's own routing key. Raises RecordError for a record that does not fit the stream,
        UsageError for a stream that the topology does not declare.
        """
        codec = self._codecs.get(stream)
        if codec is None:
            known = ", ".join(self._codecs)
            raise errors.UsageError(f"ctx.emit: stream {stream!r} is not declared in the topology (declared: {known})")
        encoded = codec.encode(record, key)
        fields: list[Argument] = [*encoded.stored]
        if encoded.key:
            fields += (b"key", encoded.key)
        fields += header_fields(headers)
        target = keys.events(self._topology, stream, encoded.partition)
        self.emits.append(("X", target, (self._capacities[stream], len(fields), *fields)))
        self.touched = True

    @property
    def state(self) -> dict[str, Any]:
        """The mapping of the event's key: JSON values by name. What is in it when the handler returns is stored."""
        if self.event is None:
            raise errors.UsageError("ctx.state: a batch has many keys; use ctx.state_of(event.key)")
        return self.state_of(self.event.key)

    def state_of(self, key: str) -> dict[str, Any]:
        """The mapping of an event key; in a batch, where `state` would not know which."""
        self.touched = True
        self.opened.add(key)
        return self._states.open(key)

    def collect(self) -> list[Effect]:
        """After a handler call that went well: its effects. Raises RecordError if a state can't be stored."""
        effects = self.emits
        # All are encoded before any is taken: if one can't be stored, the event failed and no other may change.
        texts = [(key, self._states.encoded(key)) for key in self.opened]
        for key, text in texts:
            effect = self._states.settle(key, text)
            if effect is not None:
                effects.append(effect)
        self.reset()
        return effects

    def abandon(self) -> None:
        """After a handler call that failed: nothing of it happened."""
        for key in self.opened:
            self._states.discard(key)
        self.reset()

    def reset(self) -> None:
        self.emits = []
        self.opened = set()
        self.touched = False
