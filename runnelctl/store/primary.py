"""redis-py's connections, but each looks up the primary with the Sentinels before it connects, and makes sure of it.

While the Sentinels name a replica it looks again, about as long as connecting may take (see AGAIN_S). Nothing else is
tried twice: no command was sent when a server turned out to be a replica.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from redis import exceptions
from redis.asyncio import connection as aio
from redis.backoff import ConstantBackoff

from runnelctl.errors import RedisUnreachable
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.sentinel import AGAIN_S, NOT_PRIMARY, locate


class _IsReplicaError(exceptions.ConnectionError):
    """Of a server that the Sentinels name."""


def _located(endpoint: Endpoint) -> Endpoint:
    """As `locate`, with an error that redis-py knows what to do about."""
    try:
        return locate(endpoint)
    except RedisUnreachable as error:
        raise exceptions.ConnectionError(str(error)) from error


class _Primary(redis.Connection):
    def __init__(self, *, endpoint: Endpoint, **settings: Any) -> None:
        self._endpoint = endpoint
        super().__init__(**settings)  # type: ignore[no-untyped-call]

    def _connect(self) -> Any:
        found = _located(self._endpoint)
        self.host, self.port = found.host, found.port
        return super()._connect()  # type: ignore[no-untyped-call]

    def on_connect_check_health(self, check_health: bool = True) -> None:
        super().on_connect_check_health(check_health)
        self.send_command("ROLE", check_health=False)  # type: ignore[no-untyped-call]
        if self.read_response()[0] != b"master":
            raise _IsReplicaError(NOT_PRIMARY)


class _PrimaryTls(_Primary, redis.SSLConnection):
    pass


class _PrimaryAsync(redis.asyncio.Connection):
    def __init__(self, *, endpoint: Endpoint, **settings: Any) -> None:
        self._endpoint = endpoint
        super().__init__(**settings)

    async def _connect(self) -> None:
        found = await asyncio.get_running_loop().run_in_executor(None, _located, self._endpoint)
        self.host, self.port = found.host, found.port
        await super()._connect()  # type: ignore[no-untyped-call]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)
        await self.send_command("ROLE", check_health=False)
        if (await self.read_response())[0] != b"master":
            raise _IsReplicaError(NOT_PRIMARY)


class _PrimaryAsyncTls(_PrimaryAsync, aio.SSLConnection):
    pass


def _again(settings: dict[str, Any]) -> tuple[ConstantBackoff, int, tuple[type[exceptions.RedisError], ...]]:
    """How often, and after which errors, redis-py's `Retry` connects again."""
    return ConstantBackoff(AGAIN_S), int(settings["socket_connect_timeout"] / AGAIN_S), (_IsReplicaError,)


def pool(endpoint: Endpoint, settings: dict[str, Any]) -> redis.ConnectionPool:
    """Connections to whatever server is the primary at the time, for a blocking client."""
    settings |= {"retry": redis.retry.Retry(*_again(settings))}
    return redis.ConnectionPool(connection_class=_PrimaryTls if endpoint.tls else _Primary, **settings)


def pool_async(endpoint: Endpoint, settings: dict[str, Any]) -> redis.asyncio.ConnectionPool:
    """The same for asyncio."""
    settings |= {"retry": redis.asyncio.retry.Retry(*_again(settings))}
    return redis.asyncio.ConnectionPool(
        connection_class=_PrimaryAsyncTls if endpoint.tls else _PrimaryAsync, **settings
    )
