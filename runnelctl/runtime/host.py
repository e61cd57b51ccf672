"""What every process of a host is given before the fork: frozen values and the board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runnelctl.core.plan import Plan
from runnelctl.runtime.board import Board
from runnelctl.store.endpoint import Endpoint

KEEPER, SUPERVISOR = -2, -1


@dataclass(frozen=True, slots=True)
class Host:
    """One `runnelctl up`. `member` is its name among the hosts of the topology: `host:pid:suffix`, never used twice."""

    plan: Plan
    endpoint: Endpoint
    member: str
    board: Board
    directory: str  # .runnelctl/<name>/hosts/<member>
    #: By slot: wakes that slice, or the tasks process; KEEPER and SUPERVISOR wake these. Read end, write end, not
    #: blocking.
    wakes: Mapping[int, tuple[int, int]]
    drain: bool  # `up --drain`
    embedded_root: str | None  # the directory with `.runnelctl/` if the server is the embedded one
    digest: str  # of the topology, so that hosts of different versions notice each other
    only: frozenset[str] | None = None  # the processors and tasks that `up --only` named; None: all there are
    began: float = 0.0  # seconds of CLOCK_MONOTONIC: ticks of `every` are counted from here

    @property
    def name(self) -> str:
        """`host:pid`, as shown."""
        return self.member.rsplit(":", 1)[0]

    @property
    def keeper_wake(self) -> tuple[int, int]:
        return self.wakes[KEEPER]

    @property
    def supervisor_wake(self) -> tuple[int, int]:
        return self.wakes[SUPERVISOR]
