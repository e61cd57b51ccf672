"""Every Redis key, in one place. All keys of a partition share the hash tag `{name:stream:partition}`, so that one
script may touch them and a cluster keeps them on one node. Keys of the topology as a whole share `{name}`."""

from __future__ import annotations


def tag(topology: str, stream: str, partition: int) -> str:
    return f"{{{topology}:{stream}:{partition}}}"


def events(topology: str, stream: str, partition: int) -> str:
    """The stream of one partition: what senders append to and processors read."""
    return f"{tag(topology, stream, partition)}:events"


def own(topology: str, stream: str, partition: int, processor: str) -> str:
    """The hash of one processor in one partition: epoch, nonce, owner, cursor, count, seq, quarantine, tries."""
    return f"{tag(topology, stream, partition)}:own:{processor}"


def state(topology: str, stream: str, partition: int, processor: str, key: str) -> str:
    """The state mapping of one event key under one processor, as a JSON object."""
    return f"{tag(topology, stream, partition)}:state:{processor}:{key}"


def producer(topology: str, stream: str, partition: int, producer_id: str) -> str:
    """What one producer last appended to a partition; it expires, and makes a repeated send harmless."""
    return f"{tag(topology, stream, partition)}:producer:{producer_id}"


def failures(topology: str, stream: str, partition: int, processor: str) -> str:
    """A short stream of failure records (SPEC section 5), newest last."""
    return f"{tag(topology, stream, partition)}:failures:{processor}"


def parked(topology: str, stream: str, partition: int, processor: str) -> str:
    """Hash: event key -> the failure record for which that key is parked under one processor."""
    return f"{tag(topology, stream, partition)}:parked:{processor}"


def parked_events(topology: str, stream: str, partition: int, processor: str, key: str) -> str:
    """The list of one key's parked events, oldest first."""
    return f"{tag(topology, stream, partition)}:parked:{processor}:{key}"


def replaying(topology: str, stream: str, partition: int, processor: str) -> str:
    """Hash: parked event key -> who asked for its replay, and when. It is gone when the replay is over."""
    return f"{tag(topology, stream, partition)}:replaying:{processor}"


def returned(topology: str, stream: str, partition: int, processor: str) -> str:
    """Set: the dead letters that one processor got back in this partition, so that each comes back once."""
    return f"{tag(topology, stream, partition)}:returned:{processor}"


def members(topology: str) -> str:
    """Hash: member -> its beat and capacity. The only thing that ownership is decided from."""
    return f"{{{topology}}}:members"


def scratch(topology: str) -> str:
    """A key that is written and deleted at once, to see whether the server takes writes."""
    return f"{{{topology}}}:scratch"


def hosts(topology: str) -> str:
    """Hash: member -> what it last reported of itself, for `status`."""
    return f"{{{topology}}}:hosts"


def control(topology: str) -> str:
    """A short stream that keepers block on, so that a change takes effect at once."""
    return f"{{{topology}}}:control"


def meta(topology: str) -> str:
    """Hash: what senders and hosts must agree on (partition counts, partitioners, processors, what runs)."""
    return f"{{{topology}}}:meta"


def halted(topology: str) -> str:
    """Hash: processor -> the error record that halted it."""
    return f"{{{topology}}}:halted"


def paused(topology: str) -> str:
    """Hash: `processor` or `processor:partition` -> who paused it, when and why."""
    return f"{{{topology}}}:paused"


def task(topology: str, name: str) -> str:
    """The hash of a task with a leader: epoch, nonce and owner of its lease, the last tick and who claimed it."""
    return f"{{{topology}}}:task:{name}"


def audit(topology: str) -> str:
    """A stream of what operators did: replay, skip, edit, seek, pause, resume; who, when, why."""
    return f"{{{topology}}}:audit"
