"""A raw connection to Redis for the runtime: requests go out as they are asked, replies come back as bytes, in order.

redis-py's response callbacks cost more per event than the network does (measured 0.6 to 1.8 microseconds), and its
retries and cancellations can mix replies up. Here nothing is retried and nothing in flight is ever cancelled: a
connection that fails a request is closed, and every request still waiting on it fails with `ConnectionLost`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Any, TypeAlias, cast

import hiredis

from runnelctl.errors import RedisUnreachable
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.scripts import Script
from runnelctl.store.sentinel import locate
from runnelctl.store.tls import tls_context

Argument: TypeAlias = bytes | str | int


class ConnectionLost(ConnectionError):
    """The connection broke, or an answer took too long. Whether a waiting request took effect is unknown."""


class ReplyTooLong(ConnectionLost):
    """More came than `received_most` allowed; the connection was closed to be rid of the rest."""


class ReplyError(Exception):
    """Redis answered with an error; the first word is its code (`READONLY`, `LOADING`, `OOM`, ...)."""

    @property
    def code(self) -> str:
        return str(self).split(" ", 1)[0]


class Wire(asyncio.Protocol):
    """One connection. `send` is for pipelining, `call` for one request, `run` for a script."""

    def __init__(self, endpoint: Endpoint, timeout_ms: int) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_ms / 1000
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._outgoing: list[bytes] = []
        self._known: set[str] = set()
        self.bytes_received = 0
        self.received_most = inf  # what `bytes_received` may become; Redis knows no limit of a reply by bytes
        self.lost: ConnectionLost | None = None
        self.client_id = 0

    @classmethod
    async def open(cls, endpoint: Endpoint, *, name: str, timeout_ms: int) -> Wire:
        """Connect, authenticate, select the database and name the client. Raises ConnectionLost or ReplyError.

        `timeout_ms` bounds the silence on the connection while a request waits; a reader that blocks has to allow for
        its BLOCK time. Where Sentinels watch, the primary is looked up anew for every connection.
        """
        by_sentinel, loop = bool(endpoint.service), asyncio.get_running_loop()
        if by_sentinel:
            try:
                endpoint = await loop.run_in_executor(None, locate, endpoint)
            except RedisUnreachable as error:
                raise ConnectionLost(str(error)) from error
        wire = cls(endpoint, timeout_ms)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                if endpoint.path:
                    await loop.create_unix_connection(lambda: wire, endpoint.path)
                else:
                    context = tls_context(endpoint, endpoint.tls) if endpoint.tls else None
                    await loop.create_connection(
                        lambda: wire, endpoint.host, endpoint.port, ssl=context,
                        server_hostname=endpoint.host if context else None,
                    )  # fmt: skip
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or str(error) or "timed out"
            raise ConnectionLost(f"cannot connect to {endpoint.shown}: {reason}") from error
        try:
            if endpoint.password is not None:
                user = (endpoint.username,) if endpoint.username else ()
                await wire.call("AUTH", *user, endpoint.password)
            if endpoint.db:
                await wire.call("SELECT", endpoint.db)
            if by_sentinel and (role := (await wire.call("ROLE"))[0]) != b"master":
                raise ConnectionLost(f"{endpoint.shown} is a {role.decode()} still, or again: a failover is under way")
            await wire.call("CLIENT", "SETNAME", name)
            wire.client_id = int(await wire.call("CLIENT", "ID"))
            facts = await wire.send("INFO", "persistence")  # an error for a user who may not ask
            if isinstance(facts, bytes) and b"\r\nloading:1" in facts:  # it answers what was asked so far, no more
                raise ConnectionLost(f"{endpoint.shown} is loading its data still")
        except BaseException:
            wire.close()
            raise
        return wire

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        self.bytes_received += len(data)
        if self.bytes_received > self.received_most:
            self._fail(ReplyTooLong(f"{self._endpoint.shown} sent more than there is room for"))
            return
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if not waiting:  # as a server does that has no room for us, before it hangs up
                    self._fail(ConnectionLost(f"{self._endpoint.shown} said unasked: {str(reply)[:200]}"))
                    return
                future = waiting.popleft()
                if not future.done():
                    future.set_result(reply)
        except hiredis.ProtocolError as error:
            self._fail(ConnectionLost(f"{self._endpoint.shown} does not speak the Redis protocol: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionLost(f"connection to {self._endpoint.shown} lost{f': {exc}' if exc else ''}"))

    # --- requests

    def send(self, *arguments: Argument) -> asyncio.Future[Any]:
        """Write a request now; the future gets the raw reply (a ReplyError as a value) or fails with ConnectionLost."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.lost is not None or self._transport is None:
            future.set_exception(self.lost or ConnectionLost("not connected"))
            return future
        try:
            packed = hiredis.pack_command(arguments)  # type: ignore[arg-type]
        except UnicodeEncodeError:  # a foreign sender's key need not be UTF-8
            plain = tuple(encoded(each) if isinstance(each, str) else each for each in arguments)
            packed = hiredis.pack_command(plain)  # type: ignore[arg-type]
        if not self._waiting:
            self._heard_at = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_later(self._timeout_s, self._check_silence)
        self._waiting.append(future)
        if not self._outgoing:
            self._loop.call_soon(self.flush)
        self._outgoing.append(packed)
        return future

    async def call(self, *arguments: Argument) -> Any:
        """One request, its raw reply. Raises ReplyError and ConnectionLost."""
        reply = await self.send(*arguments)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def call_now(self, *arguments: Argument) -> Any:
        """As `call`, but written before anything else gets a turn, and not with what else is asked for in this one."""
        future = self.send(*arguments)
        self.flush()
        reply = await future
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def start(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> asyncio.Future[Any]:
        """Send a script by its hash (by its text the first time on this connection); as `send` else."""
        if script.sha1 in self._known:
            return self.send("EVALSHA", script.sha1, len(keys), *keys, *args)
        self._known.add(script.sha1)
        return self.send("EVAL", script.text, len(keys), *keys, *args)

    async def run(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        """Run a script and return its raw reply; a flushed script cache is no error."""
        reply = await self.start(script, keys, args)
        if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
            reply = await self.send("EVAL", script.text, len(keys), *keys, *args)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def forget_scripts(self) -> None:
        """The server answered NOSCRIPT: send the texts again."""
        self._known.clear()

    def close(self) -> None:
        """Close now; what still waits fails with ConnectionLost."""
        self._fail(ConnectionLost("closed"))

    # --- inside

    def flush(self) -> None:
        """Everything asked for in one turn of the loop goes out in one write."""
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and self._transport is not None and self.lost is None:
            self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))

    def _check_silence(self) -> None:
        """One timer per busy connection, not per request: it looks when the oldest answer was last due."""
        self._timer = None
        if not self._waiting or self.lost is not None:
            return
        left_s = self._heard_at + self._timeout_s - self._loop.time()
        if left_s <= 0:
            self._fail(ConnectionLost(f"no answer from {self._endpoint.shown} within {self._timeout_s:g} s"))
        else:
            self._timer = self._loop.call_later(left_s, self._check_silence)

    def _fail(self, error: ConnectionLost) -> None:
        if self.lost is not None:
            return
        self.lost = error
        self._reader = hiredis.Reader()  # what came of a reply may be much, and is in a circle with the transport
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)
                future.exception()  # a request nobody waits for any more must not warn


def encoded(text: str) -> bytes:
    """A text as Redis gets it. Bytes that were no UTF-8 when they came from Redis become those bytes again; half of a
    surrogate pair, which nothing can carry, is spelled out."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
