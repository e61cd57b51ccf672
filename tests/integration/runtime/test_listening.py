"""What is said on the control stream is heard, or it is said that something may have been missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from runnelctl.core import keys
from runnelctl.runtime.listening import listen
from runnelctl.store import connect
from tests.bench import run
from tests.servers import Server


def test_after_a_failover_what_is_said_under_lower_ids_is_heard(valkey: Server, app_name: str) -> None:
    heard: list[Any] = []
    news = asyncio.Event()
    who = f"listener-{app_name}"

    def take(message: Mapping[str, str] | None) -> None:
        heard.append(message and message["what"])
        news.set()

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                news.clear()
                await news.wait()

    async def body(client: Any, control: str) -> None:
        listening = asyncio.ensure_future(listen(valkey.endpoint, app_name, who, take))
        await until(lambda: heard == [None])
        client.xadd(control, {"what": "one"}, id="9000-1")
        await until(lambda: heard == [None, "one"])
        # What a promoted replica has: the end of the stream is gone, and its clock is behind.
        client.delete(control)
        client.xadd(control, {"what": "two"}, id="900-7")
        (mine,) = (each for each in client.client_list() if each["name"] == f"runnelctl:{who}:control")
        client.client_kill_filter(_id=mine["id"])
        await until(lambda: heard == [None, "one", None, None])
        client.xadd(control, {"what": "three"}, id="900-8")
        await until(lambda: heard[-1] == "three")
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await asyncio.sleep(0)  # the transport closes

    with connect.client(valkey.endpoint) as client:
        run(body(client, keys.control(app_name)))
