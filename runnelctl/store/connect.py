"""Redis clients with the settings that keep a send from happening twice, and redis-py's exceptions as one sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from runnelctl.store.endpoint import Endpoint
from runnelctl.store.line import Line
from runnelctl.store.reach import Reached, reach
from runnelctl.store.translation import translate, translated

if TYPE_CHECKING:  # to import redis-py takes long: who only passes a client on does without
    import redis
    import redis.asyncio

__all__ = ["Asks", "Client", "Reached", "client", "client_async", "line", "reach", "translate", "translated"]

#: What `client` gives, for those who pass it on.
Client: TypeAlias = "redis.Redis"
#: For those who are content with the commands of a `Line`.
Asks: TypeAlias = "redis.Redis | Line"


def line(endpoint: Endpoint, *, timeout_ms: int = 5_000, client_name: str = "runnelctl") -> Line:
    """Like `client`, for few commands and without redis-py; see store/line.py."""
    return Line(endpoint, timeout_ms=timeout_ms, client_name=client_name)


def client(endpoint: Endpoint, *, timeout_ms: int = 5_000, client_name: str = "runnelctl") -> redis.Redis:
    """A blocking client for `endpoint`. It connects on its first command and never sends a command twice.

    `timeout_ms` bounds connecting and every single reply: a `BLOCK` must be shorter. Close it after use.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    settings: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), **_settings(endpoint, timeout_ms, client_name)}
    if endpoint.service:
        from runnelctl.store import primary

        return redis.Redis.from_pool(primary.pool(endpoint, settings))
    return redis.Redis(**settings)


def client_async(endpoint: Endpoint, *, timeout_ms: int = 5_000, client_name: str = "runnelctl") -> redis.asyncio.Redis:
    """Like `client`, for asyncio; end it with `await client.aclose()`. Never cancel a command in flight: the reply
    would be taken for the next command's."""
    import redis.asyncio
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    settings: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), **_settings(endpoint, timeout_ms, client_name)}
    if endpoint.service:
        from runnelctl.store import primary

        return redis.asyncio.Redis.from_pool(primary.pool_async(endpoint, settings))
    return redis.asyncio.Redis(**settings)


def _settings(endpoint: Endpoint, timeout_ms: int, client_name: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "db": endpoint.db,
        "username": endpoint.username,
        "password": endpoint.password,
        "socket_timeout": timeout_ms / 1000,
        "socket_connect_timeout": timeout_ms / 1000,
        "decode_responses": False,
        # RESP3 changes the shape of replies between redis-py versions, and gives nothing that is needed here.
        "protocol": 2,
        # Redis refuses a name with blanks or control characters.
        "client_name": re.sub(r"[^!-~]", "-", client_name),
    }
    if endpoint.scheme == "unix":
        return settings | {"unix_socket_path": endpoint.path}
    if endpoint.service:  # each connection looks its server up
        settings |= {"endpoint": endpoint, "socket_keepalive": True}
    else:
        settings |= {"host": endpoint.host, "port": endpoint.port, "socket_keepalive": True}
    tls = endpoint.tls
    if tls is not None:
        settings |= {} if endpoint.service else {"ssl": True}
        settings |= {
            "ssl_cert_reqs": tls.cert_reqs,
            "ssl_check_hostname": tls.check_hostname,
            "ssl_ca_certs": tls.ca_certs,
            "ssl_certfile": tls.certfile,
            "ssl_keyfile": tls.keyfile,
        }
    return settings
