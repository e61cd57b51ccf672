"""The topology as values. `topology.load` makes them; nothing after it sees a dict. Durations are in milliseconds."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class Policy(enum.Enum):
    """What a failed event costs once its attempts are used up (SPEC section 5)."""

    HALT = "HALT"
    QUARANTINE = "QUARANTINE"
    IGNORE = "IGNORE"


class Scope(enum.Enum):
    """What QUARANTINE stops."""

    PARTITION = "partition"
    KEY = "key"


class Validate(enum.Enum):
    """When records are held against the stream's schema."""

    SEND = "send"
    READ = "read"
    BOTH = "both"
    NEVER = "never"

    @property
    def on_send(self) -> bool:
        return self in (Validate.SEND, Validate.BOTH)

    @property
    def on_read(self) -> bool:
        return self in (Validate.READ, Validate.BOTH)


class Order(enum.Enum):
    """What an event waits for: the one before it in its partition, or only the one before it of its key."""

    PARTITION = "partition"
    KEY = "key"


#: Codecs and compressions that are no user's own.
CODECS = ("json", "msgpack", "fields")
COMPRESSIONS = ("none", "zstd", "lz4", "gzip")


class Partitioner(enum.Enum):
    """How a key becomes a partition number; part of the stream's identity in Redis."""

    CRC32 = "crc32"
    MURMUR2 = "murmur2"
    RING = "ring"  # as `Ring()`


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """Consistent hashing with options: `vnodes` points per partition, and the names that the points are made from, in
    the order of the partitions; None: "0", "1", …"""

    vnodes: int = 160
    nodes: tuple[str, ...] | None = None

    @property
    def value(self) -> str:
        """As text, for messages and for the stream's identity in Redis."""
        nodes = "" if self.nodes is None else f", nodes {','.join(self.nodes)}"
        return f"ring (vnodes {self.vnodes}{nodes})"


@dataclass(frozen=True, slots=True)
class Imported:
    """A partitioner of the user's own: `module:attribute`, or the name of an entry point."""

    value: str


class Start(enum.Enum):
    """Where a processor new to a stream begins."""

    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which entries may go once every processor has passed them: beyond so many, or older than that. None: no bound."""

    events: int | None = None
    age_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A named log of records, split in `partitions`. `key` is the dotted path of the routing key inside a record."""

    name: str
    partitions: int
    key: str | None = None
    schema: dict[str, Any] | bool | None = None
    schema_source: str | None = None  # the path as resolved, for messages
    record: str | None = None  # "module:Class": what records are decoded into
    codec: str = "json"  # or msgpack, fields, or what names one of the user's own
    compression: str = "none"  # or zstd, lz4, gzip, or what names one of the user's own
    pythonpath: tuple[str, ...] = ()  # where the class and what else is the user's own are imported from
    partitioner: Partitioner | Ring | Imported = Partitioner.CRC32
    capacity: int = 5_000_000
    validate: Validate = Validate.SEND
    retention: Retention | None = None

    @property
    def tells_compression(self) -> bool:
        """Whether an entry shows by its first bytes whether and how it is compressed: so unless something is a user's
        own."""
        return self.codec in CODECS and self.compression in COMPRESSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Attempts include the first one. The pause doubles from `backoff_ms` up to `max_backoff_ms`."""

    attempts: int = 3
    backoff_ms: int = 100
    max_backoff_ms: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The handler gets a list: at most `size` events, waiting at most `within_ms` for it to fill."""

    size: int = 100
    within_ms: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitBounds:
    """Upper bounds on what a `kill -9` repeats, per partition."""

    every_ms: int = 100
    events: int = 1_000


#: Which events a processor is for: (field as a dotted path or `h:<header>`, the values that it may have), all to hold.
Match = tuple[tuple[str, tuple[str | int | float | bool | None, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingBounds:
    """How many events, and bytes of them, one partition may have parked before it is quarantined as a whole."""

    events: int = 10_000
    size_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A handler on a stream, with a cursor of its own in every partition."""

    name: str
    stream: str
    handler: str  # "module:attribute"
    processes: int
    match: Match = ()
    policy: Policy = Policy.HALT
    scope: Scope = Scope.PARTITION
    max_parked: ParkingBounds = field(default_factory=ParkingBounds)
    order: Order = Order.PARTITION
    concurrency: int = 1  # with Order.KEY: handlers at once, per partition
    state_ttl_ms: int | None = None  # how long a state outlives its key's last event that used it; None: for ever
    retry: Retry = field(default_factory=Retry)
    timeout_ms: int = 30_000
    batch: Batch | None = None
    commit: CommitBounds = field(default_factory=CommitBounds)
    middleware: tuple[str, ...] = ()  # "module:attribute" each, the first outermost
    dead_letter: str | None = None  # the name of a declared stream
    start: Start = Start.EARLIEST
    max_memory_bytes: int | None = None
    max_events: int | None = None


class Overlap(enum.Enum):
    """What happens to a tick of a task that still runs: it is left out, or runs afterwards (at most one waits)."""

    SKIP = "skip"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A function that runs by the clock, or once at the start: exactly one of `on_start`, `every_ms` and `cron`."""

    name: str
    run: str  # "module:attribute"
    on_start: bool = False
    every_ms: int | None = None
    cron: str | None = None
    timezone: str = "UTC"  # of `cron`
    leader: bool = False  # on one host at a time
    overlap: Overlap = Overlap.SKIP
    timeout_ms: int | None = None


class Launching(enum.Enum):
    """How a host starts its processes: as copies of itself, or as fresh interpreters."""

    FORK = "fork"
    SPAWN = "spawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What `up` writes: from which level on, and whether each line is text or a JSON object."""

    level: str = "info"
    format: str = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """What must hold before a send is acknowledged and a commit counts: so many replicas have it; it is on the disk."""

    replicas: int = 0
    disk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One topology file, resolved: defaults filled in, variables replaced, paths absolute."""

    name: str
    file: str  # absolute path of the topology file
    redis: str  # "embedded" or a URL, secrets included
    streams: dict[str, Stream]
    processors: dict[str, Processor]
    pythonpath: tuple[str, ...] = ()  # absolute
    discover: tuple[str, ...] = ()  # modules that every slice imports before its handler
    durability: Durability | None = None
    lease_ttl_ms: int = 6_000
    drain_ms: int = 30_000
    tasks: dict[str, Task] = field(default_factory=dict)
    start: Launching = Launching.FORK
    log: Log = field(default_factory=Log)
