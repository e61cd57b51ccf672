"""Runnel's exception policies; here they are words of the topology file."""

from __future__ import annotations

from enum import StrEnum


class ExceptionPolicy(StrEnum):
    """What an event costs that fails, per processor."""

    HALT = "halt"
    QUARANTINE = "quarantine"
    IGNORE = "ignore"
