"""Carries script calls to Redis and their answers back, blocking or on asyncio, and says exactly what came of each.

The two functions differ in `await` alone. They take a connection from the client's pool and write and read it
themselves: a pipeline of redis-py can't tell "never sent" from "sent, and the answer was lost", and that difference is
what a sender's promise hangs on. An answer is a value; nothing here retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import redis
import redis.asyncio
from redis import exceptions

from runnelctl.errors import RedisUnfit
from runnelctl.store.durability import Demand
from runnelctl.store.scripts import Script, Word


class ScriptCall(msgspec.Struct, frozen=True, gc=False):
    """One call of a script."""

    script: Script
    keys: tuple[str, ...]
    args: Sequence[Word]


class Unsent(msgspec.Struct, frozen=True):
    """No connection: the call never left this process."""

    error: Exception


class Lost(msgspec.Struct, frozen=True):
    """The connection broke or stayed silent: the call may or may not have run."""

    error: Exception


class Short(msgspec.Struct, frozen=True):
    """The call ran, and less vouches for it than `durability` asks: it may be lost in a failover or a power cut."""

    error: Exception


class Failed(msgspec.Struct, frozen=True):
    """An error reply, such as OOM or READONLY: the script did not run, or stopped before its first write."""

    code: str
    error: Exception


Answer = list[Any] | Unsent | Lost | Short | Failed

_AWAY = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
_CODES: dict[type[Exception], str] = {
    exceptions.BusyLoadingError: "LOADING",
    exceptions.AuthenticationError: "NOAUTH",
    exceptions.AuthorizationError: "NOAUTH",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.NoScriptError: "NOSCRIPT",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
}


class Flight:
    """Calls that were sent and not yet answered; `finish` or `abandon` it. Until then it holds a connection."""

    __slots__ = ("answers", "calls", "connection", "demand", "pool")

    def __init__(self, pool: Any, calls: Sequence[ScriptCall], demand: Demand | None = None) -> None:
        self.pool, self.calls, self.demand = pool, calls, demand
        self.connection: Any = None
        self.answers: list[Answer] = []

    def abandon(self) -> None:
        """Give the connection back, closed unless every reply was read off it: the next user would take it for his."""
        if self.connection is not None:
            if _spoilt(self.answers):
                self.connection.disconnect()
            self.pool.release(self.connection)
            self.connection = None


def begin(client: redis.Redis, calls: Sequence[ScriptCall], demand: Demand | None = None) -> Flight:
    """Send all calls at once over one connection, so that something else can be done until they are answered. `demand`:
    what must hold before a call that ran counts."""
    flight = Flight(client.connection_pool, calls, demand)
    try:
        flight.connection = flight.pool.get_connection()
    except _AWAY as error:
        flight.answers = [_unsent(error)] * len(calls)
        return flight
    try:
        _send(flight.connection, [call.script.by_digest(call.keys, call.args) for call in calls])
    except _AWAY as error:
        flight.answers = _rest_lost(error, len(calls))
    except BaseException:
        flight.abandon()
        raise
    return flight


def finish(flight: Flight) -> list[Answer]:
    """An answer for each call, in their order. Raises no error of Redis's."""
    connection, calls = flight.connection, flight.calls
    try:
        if not flight.answers:
            answers = _replies(connection, len(calls))
            again = _unknown_scripts(answers)
            texts = [calls[index].script.by_text(calls[index].keys, calls[index].args) for index in again]
            for index, answer in zip(again, _talk(connection, texts), strict=True):
                answers[index] = answer
            if flight.demand is not None and _any_ran(answers):
                answers = _vouched(answers, flight.demand, _talk(connection, flight.demand.commands))
            flight.answers = answers
        return flight.answers
    finally:
        flight.abandon()


def exchange(client: redis.Redis, calls: Sequence[ScriptCall], demand: Demand | None = None) -> list[Answer]:
    """Send all calls and wait: an answer for each, in their order. Raises no error of Redis's."""
    return finish(begin(client, calls, demand))


async def exchange_async(
    client: redis.asyncio.Redis, calls: Sequence[ScriptCall], demand: Demand | None = None
) -> list[Answer]:
    """As `exchange`, on an asyncio client. If it is cancelled, it closes the connection."""
    pool: Any = client.connection_pool
    try:
        connection = await pool.get_connection()
    except _AWAY as error:
        return [_unsent(error)] * len(calls)
    answers: list[Answer] = []
    try:
        answers = await _talk_async(connection, [call.script.by_digest(call.keys, call.args) for call in calls])
        again = _unknown_scripts(answers)
        texts = [calls[index].script.by_text(calls[index].keys, calls[index].args) for index in again]
        for index, answer in zip(again, await _talk_async(connection, texts), strict=True):
            answers[index] = answer
        if demand is not None and _any_ran(answers):
            answers = _vouched(answers, demand, await _talk_async(connection, demand.commands))
        return answers
    finally:
        if _spoilt(answers):
            await connection.disconnect(nowait=True)
        await pool.release(connection)


def _any_ran(answers: list[Answer]) -> bool:
    return any(isinstance(answer, list) for answer in answers)


def _vouched(answers: list[Answer], demand: Demand, replies: list[Answer]) -> list[Answer]:
    """The answers, with those of calls that ran held back if less vouches for them than is asked."""
    lost = next((reply for reply in replies if isinstance(reply, Lost)), None)
    plain = [reply.error if isinstance(reply, Unsent | Lost | Short | Failed) else reply for reply in replies]
    missing = demand.shortfall(plain)
    if missing is None:
        return answers
    held: Answer = lost or Short(RedisUnfit(missing))
    return [held if isinstance(answer, list) else answer for answer in answers]


def _send(connection: Any, commands: Sequence[tuple[Word, ...]]) -> None:
    connection.send_packed_command(connection.pack_commands(commands))


def _talk(connection: Any, commands: Sequence[tuple[Word, ...]]) -> list[Answer]:
    if not commands:
        return []
    try:
        _send(connection, commands)
    except _AWAY as error:
        return _rest_lost(error, len(commands))
    return _replies(connection, len(commands))


def _replies(connection: Any, count: int) -> list[Answer]:
    answers: list[Answer] = []
    try:
        while len(answers) < count:
            try:
                answers.append(connection.read_response())
            except exceptions.ResponseError as error:
                answers.append(Failed(_code(error), error))
    except _AWAY as error:
        answers += _rest_lost(error, count - len(answers))
    return answers


async def _talk_async(connection: Any, commands: Sequence[tuple[Word, ...]]) -> list[Answer]:
    answers: list[Answer] = []
    try:
        if commands:
            await connection.send_packed_command(connection.pack_commands(commands))
        while len(answers) < len(commands):
            try:
                answers.append(await connection.read_response())
            except exceptions.ResponseError as error:
                answers.append(Failed(_code(error), error))
    except _AWAY as error:
        answers += _rest_lost(error, len(commands) - len(answers))
    return answers


def _unsent(error: Exception) -> Answer:
    """A refused password is an answer, however early it comes: asking again can't help."""
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return Failed("NOAUTH", error)
    return Unsent(error)


def _rest_lost(error: Exception, count: int) -> list[Answer]:
    """redis-py counts LOADING among the connection errors, but it is a reply: that one call did not run."""
    lost: list[Answer] = [Lost(error)] * count
    if isinstance(error, exceptions.BusyLoadingError):
        lost[0] = Failed("LOADING", error)
    return lost


def _unknown_scripts(answers: list[Answer]) -> list[int]:
    return [at for at, answer in enumerate(answers) if isinstance(answer, Failed) and answer.code == "NOSCRIPT"]


def _spoilt(answers: list[Answer]) -> bool:
    """Whether the connection may not be used again: replies are outstanding, or it leads to a demoted master."""
    return not answers or any(
        isinstance(answer, Lost) or (isinstance(answer, Failed) and answer.code in ("READONLY", "LOADING"))
        for answer in answers
    )


def _code(error: Exception) -> str:
    return _CODES.get(type(error)) or str(error).partition(" ")[0].rstrip(":")
