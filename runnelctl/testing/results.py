"""What came of a run: streams, states, dead letters, failures, as a test wants to see them."""

from __future__ import annotations

from typing import Any

import msgspec

from runnelctl import errors
from runnelctl.core import keys
from runnelctl.core.model import Topology
from runnelctl.core.plan import Unit
from runnelctl.event import Event
from runnelctl.records import Codec
from runnelctl.runtime import board as cells
from runnelctl.runtime import mending, workload
from runnelctl.runtime.host import Host
from runnelctl.testing.memory import Memory
from runnelctl.testing.stage import Stage


class Results:
    """The part of a `Harness` that looks and changes nothing."""

    topology: Topology
    _codecs: dict[str, Codec]
    _memory: Memory
    _host: Host
    _stages: dict[str, Stage]

    def events(self, stream: str) -> list[Event]:
        """Every event of a stream, in the order in which they came."""
        codec, found = self._codec(stream), []
        for partition in range(codec.stream.partitions):
            entries = self._memory.streams.get(self._stream_key(stream, partition), ())
            found += [self._event(stream, partition, entry) for entry in entries]
        return sorted(found, key=lambda event: tuple(map(int, event.id.split("-"))))

    def records(self, stream: str) -> list[Any]:
        """The records of a stream, in the order in which they came."""
        return [event.value for event in self.events(stream)]

    def plain(self, event: Event) -> Any:
        """The record of an event as plain JSON values, whatever its codec and class; its text if it is no record."""
        try:
            return msgspec.json.decode(self._codec(event.stream).json(event))
        except (errors.RecordError, msgspec.MsgspecError, UnicodeError):
            return event.raw.decode("utf-8", "replace")

    def dead_letters(self, processor: str) -> list[Event]:
        """The events that a processor has given up, with the reason in their headers (`dead-type`, …)."""
        target = mending.dead_letter_of(self.topology, self._stage(processor).processor.name)
        found = self.events(target) if target in self.topology.streams else []
        return [event for event in found if event.headers.get("dead-processor", b"").decode() == processor]

    def state(self, processor: str, key: str) -> dict[str, Any] | None:
        """`ctx.state` of a key as committed; None if there is none."""
        found: dict[str, Any] = {}
        for unit in self._stage(processor).units:
            name = keys.state(self.topology.name, unit.stream, unit.partition, processor, key)
            text = self._memory.states.get(name.encode("utf-8", "surrogateescape"))
            if text is not None:
                found = msgspec.json.decode(text)
        return found or None

    @property
    def processors(self) -> list[str]:
        """Those that run here."""
        return list(self._stages)

    def failures(self, processor: str) -> list[dict[str, Any]]:
        """The failure records of all that came to the policy, as `status` and `replay` show them: what IGNORE passed
        over, then what is parked, then what is stopped."""
        return [*self.ignored(processor), *self.parked(processor).values(), *self.blocked(processor).values()]

    def ignored(self, processor: str) -> list[dict[str, Any]]:
        """The failure records of what policy IGNORE passed over."""
        found = []
        for unit in self._stage(processor).units:
            log = keys.failures(self.topology.name, unit.stream, unit.partition, processor).encode()
            found += [msgspec.json.decode(fields[1]) for fields in self._memory.logs.get(log, ())]
        return found

    def blocked(self, processor: str) -> dict[int, dict[str, Any]]:
        """Partition -> the failure record that stops it; its `state` is `quarantined` or `halted`."""
        stage = self._stage(processor)
        owns = {unit.partition: stage.slice.own(unit) for unit in stage.units}
        return {partition: msgspec.json.decode(own.block) for partition, own in owns.items() if own.block}

    def parked(self, processor: str) -> dict[str, dict[str, Any]]:
        """Parked key -> the failure record of its first event (policy QUARANTINE, scope: key)."""
        stage = self._stage(processor)
        return {
            key: msgspec.json.decode(text) for unit in stage.units for key, text in stage.slice.own(unit).parked.items()
        }

    def passed(self, processor: str) -> int:
        """How many events the processor's cursors have passed."""
        stage = self._stage(processor)
        return sum(stage.slice.own(unit).count for unit in stage.units)

    def retried(self, processor: str) -> int:
        """How many attempts failed and were followed by another."""
        board = self._host.board
        return sum(board.q[board.unit(unit.index) + cells.U_RETRIED] for unit in self._stage(processor).units)

    def _event(self, stream: str, partition: int, entry: list[Any]) -> Event:
        unit = Unit(-1, "", stream, partition)
        codec = self._codecs[stream]
        return codec.event(entry[0], entry[1], workload.source(unit, codec))

    def _stage(self, processor: str) -> Stage:
        if processor not in self._stages:
            raise errors.UsageError(f"there is no processor {processor!r} (there: {', '.join(self._stages)})")
        return self._stages[processor]

    def _codec(self, stream: str) -> Codec:
        if stream not in self._codecs:
            raise errors.UsageError(f"stream {stream!r} is not declared (declared: {', '.join(self._codecs)})")
        return self._codecs[stream]

    def _stream_key(self, stream: str, partition: int) -> bytes:
        return keys.events(self.topology.name, stream, partition).encode()
