"""Running one task in this process, with no host: what `runnelctl task run` does where nothing is up.

A task with a leader takes the lead for that long, so that its `ctx.epoch` fences and two such runs exclude each other.
A host that comes up meanwhile takes the lead over: it finds no member behind it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket

from runnelctl import errors, handling
from runnelctl.client.concurrent import Client
from runnelctl.core.model import Task, Topology
from runnelctl.runtime import taskcalls
from runnelctl.store import leadership
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.wire import ConnectionLost, ReplyError, Wire


def run(of: Topology, endpoint: Endpoint, task: Task) -> None:
    """Run it to its end. Raises HandlerError if it can't be loaded, RedisUnreachable, TimeoutError after its timeout,
    UsageError if somebody else leads it, and whatever the task raises."""
    handling.put_on_path(of.pythonpath)
    work = taskcalls.load(task)
    asyncio.run(_run(of, endpoint, task, work))


async def _run(of: Topology, endpoint: Endpoint, task: Task, work: taskcalls.TaskWork) -> None:
    async with Client(of, timeout_ms=30_000, wait_ms=0) as client:
        limit_s = None if task.timeout_ms is None else task.timeout_ms / 1000
        if not task.leader:
            await asyncio.wait_for(taskcalls.call(work, 0, client.send), limit_s)
            return
        nonce = secrets.randbits(62) | 1
        epoch = await _lead(of, endpoint, task, nonce)
        try:
            await asyncio.wait_for(taskcalls.call(work, epoch, client.send), limit_s)
        finally:
            await _let_go(of, endpoint, task, epoch, nonce)


async def _lead(of: Topology, endpoint: Endpoint, task: Task, nonce: int) -> int:
    me = f"{socket.gethostname()}:{os.getpid()}:run"
    wire = await _open(endpoint)
    try:
        (before,) = await leadership.leaders(wire, of.name, [task.name])
        dead = "" if before.member.endswith(":run") else before.nonce  # no host is up, so a host's lead is a dead one's
        lead = await leadership.take(wire, of.name, task.name, nonce, me, dead)
    except (ConnectionLost, ReplyError) as error:
        raise errors.RedisUnreachable(str(error)) from error
    finally:
        wire.close()
    if lead is None:
        raise errors.UsageError(f"{task.name} is being run by {before.member.rpartition(':')[0]} already")
    return lead.epoch


async def _let_go(of: Topology, endpoint: Endpoint, task: Task, epoch: int, nonce: int) -> None:
    wire = await _open(endpoint)
    try:
        await leadership.release(wire, of.name, task.name, epoch, nonce, 0)
    except (ConnectionLost, ReplyError):
        pass  # a host that comes up finds nobody behind it
    finally:
        wire.close()


async def _open(endpoint: Endpoint) -> Wire:
    try:
        return await Wire.open(endpoint, name="runnelctl:task", timeout_ms=5_000)
    except (ConnectionLost, ReplyError) as error:
        raise errors.RedisUnreachable(str(error)) from error
