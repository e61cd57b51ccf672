"""Runnel's dead-letter middleware: here a line of the topology file, which needs no middleware at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runnelctl.runnel.interfaces import Middleware

if TYPE_CHECKING:
    from runnelctl.runnel.apps import Stream


class DeadLetterMiddleware(Middleware):
    """Becomes `dead_letter: dead.<stream>`: the failed event goes there in the same commit that passes it over."""

    def __init__(self, source: Stream) -> None:
        self.source = source
        self.sink = source.clone(name=f"dead.{source.name}", partition_count=1)
