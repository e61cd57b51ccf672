"""A blocking connection for `up` and `status`: the few commands that they need, under redis-py's names and with its
replies. To import redis-py takes longer than all else that these two have to do before they are of use.

Nothing is ever sent twice. What fails raises an OSError, EOFError (the server hung up), or one of hiredis's errors;
`translation.translated` makes a sentence of each. After an error the next command connects anew.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import hiredis

from runnelctl.store import tls
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.sentinel import AGAIN_S, NOT_PRIMARY, locate

Word = str | bytes | int
Reading = Callable[[Any], Any]

_CHUNK_BYTES = 65_536


class Commands:
    """What can be asked. Each command is handed to `_do` with the function that makes its raw reply what it means."""

    def _do(self, read: Reading, *words: Word) -> Any:
        raise NotImplementedError

    def execute_command(self, *words: Word) -> Any:
        return self._do(_as_it_is, *words)

    def get(self, key: Word) -> Any:
        return self._do(_as_it_is, "GET", key)

    def set(self, key: Word, value: Word, *, px: int) -> Any:
        return self._do(_as_it_is, "SET", key, value, "PX", px)

    def hget(self, key: Word, field: Word) -> Any:
        return self._do(_as_it_is, "HGET", key, field)

    def hset(self, key: Word, field: Word, value: Word) -> Any:
        return self._do(_as_it_is, "HSET", key, field, value)

    def hsetnx(self, key: Word, field: Word, value: Word) -> Any:
        return self._do(_as_it_is, "HSETNX", key, field, value)

    def hmget(self, key: Word, fields: Sequence[Word]) -> Any:
        return self._do(_as_it_is, "HMGET", key, *fields)

    def hkeys(self, key: Word) -> Any:
        return self._do(_as_it_is, "HKEYS", key)

    def hgetall(self, key: Word) -> Any:
        return self._do(_pairs, "HGETALL", key)

    def time(self) -> Any:
        return self._do(lambda reply: (int(reply[0]), int(reply[1])), "TIME")

    def info(self) -> Any:
        return self._do(_facts, "INFO")

    def config_get(self, *names: str) -> Any:
        return self._do(_texts, "CONFIG", "GET", *names)

    def eval(self, text: str, numkeys: int, *words: Word) -> Any:
        return self._do(_as_it_is, "EVAL", text, numkeys, *words)


class _IsReplicaError(ConnectionError):
    """Of a server that the Sentinels name."""


class Line(Commands):
    """See the module. `timeout_ms` bounds connecting and the silence while a reply is awaited. Close it after use."""

    def __init__(self, endpoint: Endpoint, *, timeout_ms: int, client_name: str) -> None:
        self._endpoint, self._timeout_s = endpoint, timeout_ms / 1000
        # Redis refuses a name with blanks or control characters.
        self._name = re.sub(r"[^!-~]", "-", client_name)
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. May be called twice, and asking again connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def pipeline(self, *, transaction: bool = False) -> Pipeline:
        """Commands to be asked in one go; they are no transaction."""
        assert not transaction
        return Pipeline(self)

    def _do(self, read: Reading, *words: Word) -> Any:
        (reply,) = self.ask([words])
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return read(reply)

    def ask(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """The raw replies of these, in one round trip; refusals are values."""
        try:
            if self._socket is None:
                self._connect()
            return self._exchange(commands)
        except BaseException:
            self.close()  # what is still to come must not be taken for the reply of the next command
            raise

    def _exchange(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        assert self._socket is not None
        data = b"".join(hiredis.pack_command(tuple(words)) for words in commands)  # type: ignore[arg-type]
        hung_up = False
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            hung_up = True  # but maybe it said why, as one that has no room for another client
        replies: list[Any] = []
        while len(replies) < len(commands):
            while (reply := self._reader.gets()) is False:
                received = self._socket.recv(_CHUNK_BYTES)
                if not received:
                    raise EOFError
                self._reader.feed(received)
            if hung_up and isinstance(reply, hiredis.ReplyError):
                raise reply
            replies.append(reply)
        return replies

    def _connect(self) -> None:
        """Connect; if the Sentinels name a replica, until they name the primary, as long as connecting may take."""
        until = time.monotonic() + self._timeout_s
        while True:
            try:
                return self._greet()
            except _IsReplicaError:
                self.close()
                if time.monotonic() + AGAIN_S >= until:
                    raise
            time.sleep(AGAIN_S)

    def _greet(self) -> None:
        """Connect, authenticate, select the database and name the client. `ask` hangs up if it fails."""
        endpoint = locate(self._endpoint)
        self._reader = hiredis.Reader()
        if endpoint.path:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(self._timeout_s)
            self._socket.connect(endpoint.path)
        else:
            self._socket = socket.create_connection((endpoint.host, endpoint.port), timeout=self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if endpoint.tls is not None:
                self._socket = tls.made(endpoint.tls).wrap_socket(self._socket, server_hostname=endpoint.host)
        greeting: list[tuple[Word, ...]] = []
        if endpoint.password is not None:
            greeting.append(("AUTH", *((endpoint.username,) if endpoint.username else ()), endpoint.password))
        if endpoint.db:
            greeting.append(("SELECT", endpoint.db))
        greeting.append(("CLIENT", "SETNAME", self._name))
        if self._endpoint.service:
            greeting.append(("ROLE",))
        for reply in (replies := self._exchange(greeting)):
            if isinstance(reply, hiredis.ReplyError):
                raise reply
        if self._endpoint.service and replies[-1][0] != b"master":
            raise _IsReplicaError(NOT_PRIMARY)


class Pipeline(Commands):
    """Collects commands; `execute` asks all of them."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._asked: list[tuple[Reading, tuple[Word, ...]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._asked.clear()

    def _do(self, read: Reading, *words: Word) -> Any:
        self._asked.append((read, words))

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Their replies. A refusal is raised, or is a value if `raise_on_error` is False."""
        asked, self._asked = self._asked, []
        replies = self._line.ask([words for _, words in asked])
        found = []
        for (read, _), reply in zip(asked, replies, strict=True):
            refused = isinstance(reply, hiredis.ReplyError)
            if refused and raise_on_error:
                raise reply
            found.append(reply if refused else read(reply))
        return found


def _as_it_is(reply: Any) -> Any:
    return reply


def _pairs(reply: Any) -> dict[Any, Any]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _texts(reply: Any) -> Mapping[str, str]:
    return {name.decode(): value.decode("utf-8", "replace") for name, value in _pairs(reply).items()}


def _facts(reply: Any) -> dict[str, Any]:
    """INFO; whole numbers as such."""
    lines = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines())
    return {name: int(value) if value.isdecimal() else value for name, colon, value in lines if colon}
