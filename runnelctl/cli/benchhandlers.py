"""The handlers of `runnelctl bench`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from runnelctl.event import Event


async def noop(event: Event) -> None:
    """Decodes the record and does nothing."""
    _ = event.value


class Latency:
    """Notes how old every event is when it is called; writes it all down when its slice ends."""

    def __init__(self) -> None:
        self._ages_ms: list[float] = []

    async def __call__(self, event: Event) -> None:
        self._ages_ms.append((time.time_ns() - event.value["at"]) / 1e6)

    async def close(self) -> None:
        Path(os.environ["BENCH_AGES_FILE"]).write_text(json.dumps(self._ages_ms))
