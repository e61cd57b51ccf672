"""Which server is the primary now? A majority of the Sentinels is asked, and the latest configuration among their
answers counts: one that was cut off still names the primary of before.

Blocking, over plain sockets and without threads of its own, so that there is one home for it: commands use it as it is,
before they fork as well, and the runtime in a thread. Asked only when somebody connects.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import hiredis

from runnelctl.core.addresses import Address
from runnelctl.errors import RedisUnreachable
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.tls import tls_context

ANSWER_S = 0.5  # for one Sentinel, connecting included
#: They tell each other every two seconds: until then some name a server that is a replica by now. Who connects looks
#: again after so many seconds, until its time for connecting is over.
AGAIN_S = 0.1
NOT_PRIMARY = "the server that the Sentinels name is a replica: a failover is under way"
_LARGEST_REPLY = 64 * 1024

#: Sentinels that did not answer the last time: asked last, so that a dead one costs its half second once.
_silent: set[Address] = set()


@dataclass(frozen=True, slots=True)
class Primary:
    """A Sentinel's answer: where the primary is, and the number of the failover that made it the primary."""

    address: Address
    config_epoch: int


def locate(endpoint: Endpoint) -> Endpoint:
    """The server to talk to: the primary if the endpoint names Sentinels, else the endpoint itself. Blocks.

    Raises RedisUnreachable if no Sentinel answers or knows the primary.
    """
    if not endpoint.service:
        return endpoint
    found: list[Primary] = []
    complaints: dict[str, None] = {}
    for sentinel in sorted(endpoint.sentinels, key=lambda each: (each.host, each.port) in _silent):
        try:
            found.append(_ask(sentinel, endpoint.service))
            _silent.discard((sentinel.host, sentinel.port))
        except (OSError, hiredis.HiredisError, ValueError) as error:
            _silent.add((sentinel.host, sentinel.port))
            complaints[getattr(error, "strerror", None) or str(error) or type(error).__name__] = None
        if len(found) > len(endpoint.nodes) // 2:
            break
    if not found:
        raise RedisUnreachable(f"no Sentinel of {endpoint.shown} names a primary: {'; '.join(complaints)}")
    return endpoint.at(max(found, key=lambda primary: primary.config_epoch).address)


def _ask(sentinel: Endpoint, service: str) -> Primary:
    """One Sentinel's answer. Raises OSError, hiredis's errors, and ValueError with what it said instead."""
    connection = socket.create_connection((sentinel.host, sentinel.port), timeout=ANSWER_S)
    try:
        if sentinel.tls is not None:
            connection = tls_context(sentinel, sentinel.tls).wrap_socket(connection, server_hostname=sentinel.host)
        if sentinel.password is not None:
            user = (sentinel.username,) if sentinel.username else ()
            _call(connection, "AUTH", *user, sentinel.password)
        reply = _call(connection, "SENTINEL", "MASTER", service)
    finally:
        connection.close()
    facts = dict(zip(reply[::2], reply[1::2], strict=True))
    return Primary((facts[b"ip"].decode(), int(facts[b"port"])), int(facts.get(b"config-epoch", 0)))


def _call(connection: socket.socket, *words: str) -> Any:
    connection.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]
    reader, size = hiredis.Reader(), 0
    while (reply := reader.gets()) is False:
        data = connection.recv(16_384)
        size += len(data)
        if not data or size > _LARGEST_REPLY:
            raise ValueError("it closed the connection" if not data else "what answers is no Sentinel")
        reader.feed(data)
    if isinstance(reply, hiredis.ReplyError):
        raise ValueError(_told(str(reply), words[-1]))
    return reply


def _told(error: str, service: str) -> str:
    if "No such master" in error:
        return f"no Sentinel knows a primary called {service!r}"
    if error.startswith(("NOAUTH", "WRONGPASS")):
        return "a Sentinel refuses the login; write ?sentinel_username=…&sentinel_password=… into the URL"
    if error.startswith("ERR unknown command"):
        return "what answers there is no Sentinel; name the Sentinels, or the server itself as redis://"
    return error
