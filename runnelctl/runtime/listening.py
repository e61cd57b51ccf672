"""Hearing what is said on the control stream, so that what others do is noticed at once and nobody polls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

from runnelctl.core import backoff, keys
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.wire import ConnectionLost, ReplyError, Wire

#: Called with each message, or with None where some may have been missed.
Heard = Callable[[Mapping[str, str] | None], None]


async def listen(endpoint: Endpoint, topology: str, who: str, heard: Heard) -> None:
    """Call `heard` with every message from now on, for ever; with None whenever some may have been missed, which is so
    at the start and after a lost connection. `who`: the connection's name in Redis."""
    name, after, failures = keys.control(topology), b"", 0
    while True:
        wire = None
        try:
            wire = await Wire.open(endpoint, name=f"runnelctl:{who}:control", timeout_ms=8_000)
            newest = await wire.call("XREVRANGE", name, "+", "-", "COUNT", 1)
            last = newest[0][0] if newest else b"0-0"
            # `$` would miss what is said between two reads. And a failover may have taken the end of the stream away:
            # what is said next may then have lower ids than what was heard before.
            if not after or _number(last) < _number(after):
                after = last
                heard(None)
            while True:
                reply = await wire.call("XREAD", "COUNT", 100, "BLOCK", 5_000, "STREAMS", name, after)
                failures = 0
                for _, entries in reply or ():
                    after = entries[-1][0]
                    for _, fields in entries:
                        heard({k.decode(): v.decode() for k, v in zip(fields[::2], fields[1::2], strict=True)})
        except (ConnectionLost, ReplyError):
            heard(None)
        finally:
            if wire is not None:
                wire.close()
        failures += 1
        await asyncio.sleep(backoff.pause_s(failures, 0.2 + 0.8 * random.random()))


def _number(entry_id: bytes) -> tuple[int, int]:
    ms, _, seq = entry_id.partition(b"-")
    return int(ms), int(seq)
