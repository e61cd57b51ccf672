"""The one tree of errors, each with the exit code that `runnelctl` ends with when it meets it.

Expected outcomes (a fenced commit, a busy lease, a refused record in a bulk send) are values, not exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_HANDLER = 3
EXIT_HALTED = 4
EXIT_REDIS = 69
EXIT_FORCED = 130


class RunnelctlError(Exception):
    """Something went wrong that the user can read about in one sentence."""

    exit_code = EXIT_ERROR
    #: On an error of a send: the ids of the call's records as far as they went, None for one that is not known stored.
    ids: Sequence[str | None] = ()


class UsageError(RunnelctlError):
    """The command line asks for something that makes no sense."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a topology: where it is (1-based line and column) and what is wrong, with what to do."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class TopologyError(RunnelctlError):
    """A topology file with mistakes; `problems` holds all of them, in the file's order."""

    exit_code = EXIT_USAGE

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RecordError(RunnelctlError):
    """A record that can't be sent or decoded: not JSON, too deep, without its key, against its schema."""


class HandlerError(RunnelctlError):
    """A handler that can't be imported, isn't callable or takes the wrong arguments."""

    exit_code = EXIT_HANDLER


class RedisUnreachable(RunnelctlError):
    """Redis does not answer, refuses the password, or is still loading."""

    exit_code = EXIT_REDIS


class RedisUnfit(RunnelctlError):
    """Redis answers but can't be trusted with events: too old, may evict, read-only, full, or not the same topology."""

    exit_code = EXIT_ERROR


class CapacityError(RunnelctlError):
    """A partition holds as many unread events as its stream's `capacity`; the sender has to wait."""


class SendOutcomeUnknown(RunnelctlError):
    """Redis stayed away until the send's deadline; the record may or may not be stored. Sending it again is the
    caller's decision."""

    exit_code = EXIT_REDIS
