"""Read sessions: what a lane may trust after it began, or after the connection broke; and what was lost meanwhile.

A failover may take back what Redis had acknowledged, and strangers may remove events. Neither can be undone here, but
both are noticed, counted and said: in the log, in `status`, and in the audit where it is for good.
"""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING

from runnelctl.core import losses
from runnelctl.core.losses import Known, Loss
from runnelctl.core.plan import Unit
from runnelctl.runtime import board as cells
from runnelctl.runtime import failures
from runnelctl.store import leases, members
from runnelctl.store.leases import Session, unit_keys
from runnelctl.store.wire import ConnectionLost, ReplyError, Wire

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane
    from runnelctl.runtime.slice import Slice

PAUSE_S = 0.1


async def settle(lane: Lane) -> None:
    """Wait until all that is done is committed, or the lane is over. Nothing of it may be in a handler."""
    lane.idle()
    while lane.ended is None and lane.ledger.unsettled:
        await lane.ledger.progress()


async def read(slice_: Slice, unit: Unit) -> Session:
    """The unit's own hash, asked for until Redis answers."""
    while True:
        wire = await slice_.committer.side.get()
        try:
            session = await leases.session(wire, slice_.topology.name, unit)
            slice_.outage.over("sessions")
            return session
        except (ConnectionLost, ReplyError) as error:
            slice_.outage.began("sessions", error)
            slice_.committer.side.drop()
            await asyncio.sleep(PAUSE_S)


async def read_again(lane: Lane, known: Known) -> Session:
    """A new session of a lane that runs. What Redis does not have any more of what the lane had is counted and said."""
    while True:
        session = await read(lane.slice, lane.unit)
        ours = session.epoch == lane.ledger.epoch and session.nonce == str(lane.ledger.nonce)
        if not ours and session.epoch >= lane.ledger.epoch:
            return session  # somebody took over, in one and the same history
        wire = await lane.slice.committer.side.get()
        try:
            if not session.epoch and await leases.grouped(wire, lane.slice.topology.name, lane.unit):
                return session  # only the own hash is gone: the keeper says so, and stops the partition
            loss = await _loss(wire, lane, known, session)
            if loss is not None:
                await _say(wire, lane, loss, session)
            return session
        except (ConnectionLost, ReplyError) as error:
            lane.slice.outage.began("sessions", error)
            lane.slice.committer.side.drop()
            await asyncio.sleep(PAUSE_S)


def stop_at_gap(lane: Lane, session: Session) -> None:
    """Block the partition if unread events are gone by somebody's hand."""
    if session.lost or session.replaced:
        failures.block_trimmed(lane, session.lost, replaced=session.replaced)


async def _loss(wire: Wire, lane: Lane, known: Known, session: Session) -> Loss | None:
    within = 0
    if known.read > session.count and losses.follows(known.last, session.cursor):
        _, events = unit_keys(lane.slice.topology.name, lane.unit)
        within = await leases.between(wire, events, session.cursor, known.last)
    return losses.loss(known, count=session.count, within=within, added=session.added)


async def _say(wire: Wire, lane: Lane, loss: Loss, session: Session) -> None:
    slice_ = lane.slice
    await members.note(
        wire, slice_.topology.name, what="lost", processor=lane.unit.processor, partition=str(lane.unit.partition),
        lost=str(loss.lost), undone=str(loss.undone), last=loss.last.decode(), cursor=session.cursor.decode(),
        host=slice_.host, time=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
    )  # fmt: skip
    slice_.log.error(
        "%s: Redis went back in time, as after a failover: %d event(s) that it had are gone (read here up to %s), and "
        "%d event(s) that were committed come again; going on from %s",
        lane.name, loss.lost, loss.last.decode(), loss.undone, session.cursor.decode(),
    )  # fmt: skip
    lane.count(cells.U_LOST, loss.lost)
    lane.count(cells.U_UNDONE, loss.undone)
