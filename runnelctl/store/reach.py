"""From the `redis` setting of a topology to a server that can be reached: a URL as it is, or the embedded one, up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from runnelctl.store import embedded as embedding
from runnelctl.store import endpoint as endpoints
from runnelctl.store.embedded import Embedded
from runnelctl.store.endpoint import Endpoint

EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Reached:
    """The server of a topology. Until it is closed an embedded server stays up; with a URL there is nothing held."""

    endpoint: Endpoint
    embedded: Embedded | None = None

    def close(self) -> None:
        """Let go of the embedded server, which stops when nobody else uses it. May be called twice."""
        if self.embedded is not None:
            self.embedded.close()

    def __enter__(self) -> Reached:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def reach(redis: str, name: str, root: Path | None = None) -> Reached:
    """The server that `redis` (a URL, or `embedded`) names for the topology `name`; starts the embedded one if needed.

    `root` is the directory that holds `.runnelctl/` (default: `$RUNNELCTL_DIR`, else the current one). A URL is not
    connected to. Raises UsageError for a malformed one, RedisUnreachable when the embedded server cannot be started.
    """
    if redis.strip().lower() != EMBEDDED:
        return Reached(endpoints.parse(redis))
    held = embedding.ensure(name, root=root)
    return Reached(held.endpoint, held)
