"""How far `up --drain` is: a bar below everything else on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import math

from runnelctl.runtime import board as cells
from runnelctl.runtime.host import Host
from runnelctl.runtime.output import Output

BAR_CELLS = 30
BAR_EVERY_S = 0.2
LINE_EVERY_S = 5.0


class Progress:
    """Shows the figures that the keeper puts on the board."""

    def __init__(self, host: Host, output: Output, now: float) -> None:
        self._host, self._output = host, output
        self._began = now
        self.due = now + (BAR_EVERY_S if output.terminal else LINE_EVERY_S) if host.drain else math.inf

    def show(self, now: float) -> None:
        """Draw, or say, if it is time."""
        if now < self.due:
            return
        done, total = self._figures()
        if self._output.terminal:
            self._output.footer(bar(done, total))
            self.due = now + BAR_EVERY_S
        else:
            self._output.say(f"{done:,} of {total:,} events passed ({share(done, total):.0%})")
            self.due = now + LINE_EVERY_S

    def finish(self, now: float) -> None:
        """The last word of a drain."""
        if self._host.drain and not math.isinf(self.due):
            self.due = math.inf
            self._output.footer("")
            done, total = self._figures()
            self._output.say(f"{done:,} of {total:,} events passed in {now - self._began:.1f} s")

    def _figures(self) -> tuple[int, int]:
        q = self._host.board.q
        return q[cells.H_DRAIN_DONE], q[cells.H_DRAIN_TOTAL]


def share(done: int, total: int) -> float:
    """How much of it is done; all of nothing."""
    return min(1.0, done / total) if total else 1.0


def bar(done: int, total: int) -> str:
    """One line, redrawn in place."""
    full = int(share(done, total) * BAR_CELLS)
    return f"{'━' * full}{'╌' * (BAR_CELLS - full)} {done:,} of {total:,} events ({share(done, total):.0%})"
