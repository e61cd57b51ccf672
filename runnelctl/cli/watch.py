"""Looking at a topology again and again: rates over the last few seconds, and outages that don't end it."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable

import click

from runnelctl import errors
from runnelctl.core import status
from runnelctl.core.model import Topology
from runnelctl.core.reading import Reading
from runnelctl.core.status import Snapshot

RATES_OVER_MS = 3_000

#: What a look ends with that may pass: the server is away, loading, or a replica for the moment.
PASSING = (errors.RedisUnreachable, errors.RedisUnfit)


class Watch:
    """Remembers what it read lately, so that rates are counted and not taken from reports."""

    def __init__(self, topology: Topology, read: Callable[[], Reading]) -> None:
        self._topology, self._read = topology, read
        self._readings: deque[Reading] = deque()

    def look(self) -> Snapshot:
        """The snapshot of now. Raises what `read` raises."""
        reading = self._read()
        while self._readings and not 0 <= reading.server_ms - self._readings[0].server_ms <= RATES_OVER_MS:
            self._readings.popleft()
        self._readings.append(reading)
        return status.judge(self._topology, reading, self._readings[0])


def repeat(watch: Watch, interval_s: float, write: Callable[[Snapshot], None]) -> None:
    """Write a snapshot every `interval_s` seconds until Ctrl-C. The first look may raise; an outage later is said once
    on stderr and waited out."""
    snapshot: Snapshot | None = watch.look()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            if snapshot is not None:
                write(snapshot)
            time.sleep(interval_s)
            try:
                snapshot = watch.look()
            except PASSING as error:
                if snapshot is not None:
                    click.echo(f"runnelctl: {error}", err=True)
                snapshot = None
