"""One line when Redis goes, one when it is back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from runnelctl.runtime.outage import Outage


def test_many_notice_and_one_line_is_said(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(logging.getLogger("outage"))
    outage.began("read", "connection lost")
    outage.began("commit", "connection lost")
    outage.began("read", "cannot connect")
    outage.over("read")
    assert caplog.messages == ["Redis: connection lost; trying again until it is back"]
    outage.over("commit")
    assert caplog.messages[1:] == ["Redis is back"]
    outage.over("commit")
    outage.over("other")
    assert len(caplog.messages) == 2


def test_who_gets_through_wakes_those_who_wait_to_try_again() -> None:
    asyncio.run(_woken())


async def _woken() -> None:
    outage = Outage(logging.getLogger("outage"))
    outage.began("read", "connection lost")
    outage.began("commit", "connection lost")
    waiting = asyncio.create_task(outage.rest(600.0))
    await asyncio.sleep(0)
    outage.over("other")
    await asyncio.sleep(0)
    assert not waiting.done(), "it never had trouble"
    outage.over("read")
    await asyncio.wait_for(waiting, 5)
    await outage.rest(0.0)
