"""Why Redis took no records, in sentences: what, where, and what to do."""

from __future__ import annotations

from runnelctl import errors
from runnelctl.store.lane import Chunk, Lane

_UNFIT = {
    "WRONGTYPE": "{key} is a {what} in Redis, not a stream: something else uses this name; rename one of them",
    "POISONED": "{key} can take no more records: an entry with the id {what} used up its ids; delete or rename the key",
    "STALE": "{key} knows later records of this sender (up to number {what}): two processes share one sender",
}


def unfit(lane: Lane, status: str, detail: str) -> errors.RedisUnfit:
    """The produce script found a stream that can't be appended to."""
    return errors.RedisUnfit(_UNFIT[status].format(key=lane.keys[0], what=detail))


def full(lane: Lane, unread: str) -> errors.CapacityError:
    """The partition has no room for the chunk."""
    return errors.CapacityError(
        f"partition {lane.partition} of {lane.stream.name!r} holds {int(unread):,} unread events and its capacity is "
        f"{lane.stream.capacity:,}: let the processors catch up, or raise the stream's `capacity`"
    )


def unknown(
    lane: Lane, chunk: Chunk, error: errors.RunnelctlError, *, short: bool = False
) -> errors.SendOutcomeUnknown:
    """No answer came before the deadline, and at least one attempt may have run; or, if `short`, one has run and less
    vouches for it than is asked."""
    count = len(chunk.entries)
    records = "1 record" if count == 1 else f"{count} records"
    if short:
        return errors.SendOutcomeUnknown(
            f"{records} for {lane.keys[0]} may be lost in a failover or a power cut: {error}"
        )
    return errors.SendOutcomeUnknown(
        f"{records} for {lane.keys[0]} may or may not be stored: there was no answer before the deadline ({error})"
    )


def behind(lane: Lane, error: errors.RunnelctlError) -> errors.RunnelctlError:
    """What queued records are told when the chunk before them failed: they were never sent, whatever became of it."""
    if isinstance(error, errors.SendOutcomeUnknown):
        return errors.RedisUnreachable(f"not sent to {lane.keys[0]}: the fate of records before it is unknown")
    return error
