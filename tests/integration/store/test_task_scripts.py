"""The leadership of a task, on either kind of server: one leader, no tick twice, none lost at a hand-over."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from runnelctl.store import leadership
from runnelctl.store.wire import Wire
from tests.servers import Server


def run(server: Server, body: Any) -> None:
    async def main() -> None:
        wire = await Wire.open(server.endpoint, name="test", timeout_ms=5_000)
        try:
            await body(wire)
        finally:
            wire.close()

    made: Coroutine[Any, Any, None] = main()
    asyncio.run(made)


def test_one_leads_until_it_lets_go_or_is_known_to_be_dead(redis_server: Server, app_name: str) -> None:
    async def body(wire: Wire) -> None:
        first = await leadership.take(wire, app_name, "t", 1, "a", "")
        assert first is not None and first.before == ""
        assert await leadership.take(wire, app_name, "t", 2, "b", "") is None
        assert await leadership.take(wire, app_name, "t", 2, "b", "99") is None
        again = await leadership.take(wire, app_name, "t", 1, "a", "")
        assert again == first, "a lost answer is asked for again"
        second = await leadership.take(wire, app_name, "t", 2, "b", "1")
        assert second is not None and second.epoch > first.epoch and second.before == "a"
        assert not await leadership.release(wire, app_name, "t", first.epoch, 1, 0)
        assert await leadership.release(wire, app_name, "t", second.epoch, 2, 0)
        third = await leadership.take(wire, app_name, "t", 3, "b", "")
        assert third is not None and third.epoch > second.epoch and third.before == "b"
        (seen,) = await leadership.leaders(wire, app_name, ["t"])
        assert (seen.member, seen.nonce, seen.epoch) == ("b", "3", third.epoch)

    run(redis_server, body)


def test_a_tick_is_claimed_once_and_only_by_the_leader(redis_server: Server, app_name: str) -> None:
    async def body(wire: Wire) -> None:
        lead = await leadership.take(wire, app_name, "t", 1, "a", "")
        assert lead is not None

        async def claim(epoch: int, nonce: int, tick: int | None, name: str) -> str:
            return await leadership.claim(wire, app_name, "t", epoch, nonce, tick, name)

        tick = lead.last_ms + 1_000
        assert await claim(lead.epoch, 1, lead.last_ms, "w") == "PAST"
        assert await claim(lead.epoch, 1, tick, "x") == "OK"
        assert await claim(lead.epoch, 1, tick, "x") == "OK", "its answer was lost"
        assert await claim(lead.epoch, 1, tick, "y") == "PAST"
        assert await claim(lead.epoch, 1, None, "z") == "OK", "somebody asked for a run"
        other = await leadership.take(wire, app_name, "t", 2, "b", "1")
        assert other is not None and other.last_ms == tick, "what is settled is known to the successor"
        assert await claim(lead.epoch, 1, tick + 1_000, "v") == "FENCED"
        assert await claim(lead.epoch, 1, None, "u") == "FENCED"
        assert await claim(other.epoch, 2, tick + 1_000, "t") == "OK"

    run(redis_server, body)


def test_ticks_that_were_skipped_are_settled_for_the_successor_too(redis_server: Server, app_name: str) -> None:
    async def body(wire: Wire) -> None:
        lead = await leadership.take(wire, app_name, "t", 1, "a", "")
        assert lead is not None
        assert await leadership.release(wire, app_name, "t", lead.epoch, 1, lead.last_ms + 5_000)
        after = await leadership.take(wire, app_name, "t", 2, "b", "")
        assert after is not None and after.last_ms == lead.last_ms + 5_000

    run(redis_server, body)
