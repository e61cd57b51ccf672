"""What a handler may do besides returning: emit records, keep state, log. Everything is held back until the event is
done, and goes into Redis in the event's own commit or not at all."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from runnelctl import errors
from runnelctl.core import keys
from runnelctl.event import Event
from runnelctl.records import Codec, Encoded, header_fields
from runnelctl.records.quick import Quick
from runnelctl.runtime.states import Effect, States, StateUnavailable
from runnelctl.store.wire import Argument

__all__ = ["Context", "Effect", "StateUnavailable", "States"]


class _Names(dict[int, str]):
    """What the partitions of a stream are called in Redis; made when they are first asked for, since it is per emit."""

    def __init__(self, topology: str, stream: str) -> None:
        self._topology, self._stream = topology, stream

    def __missing__(self, partition: int) -> str:
        name = self[partition] = keys.events(self._topology, self._stream, partition)
        return name


#: Shared by all partitions of a slice.
_names = functools.cache(_Names)
#: The short way to encode, the way for everything, where to, the stream's capacity.
_Outlet = tuple[Quick, Callable[[Any, str | None], Encoded], _Names, int]


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
        self._states, self._open = states, states.begin if states.expire else states.open
        self._outlets: dict[str, _Outlet] = {}
        self.event: Event | None = None  # the one in the handler; None in a batch
        self.confined_to: Event | None = None  # other keys' events are in handlers: only this one's state may be used
        #: What middleware may set: headers that every emit gets, unless it has them itself.
        self.stamp: Callable[[], Mapping[str, str | bytes]] | None = None
        self.emits: list[Effect] = []
        self.opened: dict[str, dict[str, Any]] = {}  # by key
        self._own: dict[str, Any] = {}  # the mapping of this event's key
        self._own_of: Event | None = None
        self.touched = False

    def emit(
        self, stream: str, record: Any, key: str | None = None, headers: Mapping[str, str | bytes] | None = None
    ) -> None:
        """Append `record` to `stream` when, and only if, this event is committed.

        `key` overrides the record's own routing key. Raises RecordError for a record that does not fit the stream,
        UsageError for a stream that the topology does not declare.
        """
        quick, encode, names, capacity = self._outlets.get(stream) or self._outlet(stream)
        if key is None and type(record) is dict and (found := quick(record)) is not None:
            if not headers and self.stamp is None:
                data, key, partition = found
                self.emits.append(("E", names[partition], (capacity, data, key)))
                self.touched = True
                return
            encoded = Encoded(*found)
        else:
            encoded = encode(record, key)
        if self.stamp is not None:
            headers = {**self.stamp(), **(headers or {})}
        target = names[encoded.partition]
        if headers or not encoded.key or encoded.fields is not None:
            fields: list[Argument] = [*encoded.stored]
            if encoded.key:
                fields += (b"key", encoded.key)
            fields += header_fields(headers)
            self.emits.append(("X", target, (capacity, len(fields), *fields)))
        else:
            self.emits.append(("E", target, (capacity, encoded.data, encoded.key)))
        self.touched = True

    def _outlet(self, stream: str) -> _Outlet:
        """What emits into a stream need, looked up at the first."""
        codec = self._codecs.get(stream)
        if codec is None:
            known = ", ".join(self._codecs)
            raise errors.UsageError(f"ctx.emit: stream {stream!r} is not declared in the topology (declared: {known})")
        names = _names(self._topology, stream)
        outlet = self._outlets[stream] = codec.quick, codec.encode_any, names, self._capacities[stream]
        return outlet

    @property
    def state(self) -> dict[str, Any]:
        """The mapping of the event's key: JSON values by name. What is in it when the handler returns is stored."""
        event = self.event
        if event is None:
            raise errors.UsageError("ctx.state: a batch has many keys; use ctx.state_of(event.key)")
        if event is not self._own_of:
            self._own, self._own_of = self.state_of(event.key), event
        return self._own

    def state_of(self, key: str) -> dict[str, Any]:
        """The mapping of an event key; in a batch, where `state` would not know which."""
        if self.confined_to is not None and key != self.confined_to.key:
            raise errors.UsageError(f"ctx.state_of({key!r}): with order: key, only the state of the event's own key")
        mapping = self.opened.get(key)
        if mapping is None:
            self.touched = True
            mapping = self.opened[key] = self._open(key)
        return mapping

    def collect(self) -> list[Effect]:
        """After a handler call that went well: its effects. Raises RecordError if a state can't be stored."""
        effects, opened = self.emits, self.opened
        if opened:
            effects += self._states.settled(opened)
            opened.clear()
            self._own_of = None
        self.emits, self.touched = [], False
        return effects

    def abandon(self) -> None:
        """After a handler call that failed: nothing of it happened."""
        for key in self.opened:
            self._states.discard(key)
        self.reset()

    def reset(self) -> None:
        """Ready for the next call."""
        self.opened.clear()
        self.emits = []
        self._own_of = None
        self.touched = False
