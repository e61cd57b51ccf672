"""Fixtures that all tests share: real servers and a name of one's own on them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests import servers
from tests.servers import Server

# The same examples in every run, and no clock on them; `--hypothesis-profile=default` searches at random.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
LONGEST_ID = 80


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A test's name goes into an environment variable and over the wire of xdist: 64 MiB of text make a bad one."""
    return f"{argname}-of-{len(val)}" if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None


def _server(kind: str, *config: str, appendonly: bool = True) -> Server:
    binary = servers.binary(kind)
    if binary is None:
        pytest.skip(f"no {kind} server is installed")
    return Server(binary, *config, appendonly=appendonly)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    """A Valkey that the tests of a worker share; use `app_name` for keys, and never flush, stop or configure it."""
    server = _server("valkey")
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis7() -> Iterator[Server]:
    """The system's redis-server, shared like `valkey`; skips where there is none."""
    server = _server("redis")
    server.start()
    yield server
    server.close()


@pytest.fixture(params=["valkey", "redis"])
def server_kind(request: pytest.FixtureRequest) -> str:
    """Runs the test once per kind of server."""
    kind = str(request.param)
    if servers.binary(kind) is None:
        pytest.skip(f"no {kind} server is installed")
    return kind


@pytest.fixture
def redis_server(server_kind: str, request: pytest.FixtureRequest) -> Server:
    """A shared server, once per kind: the oldest Redis that is supported and the newest Valkey must behave alike."""
    server = request.getfixturevalue("valkey" if server_kind == "valkey" else "redis7")
    assert isinstance(server, Server)
    return server


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Call it as `start_server("valkey", "--maxmemory", "10mb", appendonly=False)`; it gives a running server."""
    started: list[Server] = []

    def start(kind: str = "valkey", *config: str, appendonly: bool = True) -> Server:
        server = _server(kind, *config, appendonly=appendonly)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture
def valkey_own(start_server: Callable[..., Server]) -> Server:
    """A Valkey of the test's own, to stop, kill, pause and configure."""
    return start_server("valkey")


@pytest.fixture
def app_name() -> str:
    """A topology name that no other test uses, so that tests can share a server."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def wait_until() -> Callable[..., object]:
    """`tests.waiting.wait_until`, for tests that prefer a fixture."""
    from tests.waiting import wait_until

    return wait_until
