"""The raw connection against real servers, and against ones that stammer, fall silent, or go away."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from runnelctl import errors
from runnelctl.store import endpoint as endpoints
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.scripts import Script, script
from runnelctl.store.wire import ConnectionLost, ReplyError, ReplyTooLong, Wire
from tests import servers
from tests.servers import Server

T = TypeVar("T")
Speaker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


@asynccontextmanager
async def opened(endpoint: Endpoint, timeout_ms: int = 10_000) -> AsyncIterator[Wire]:
    wire = await Wire.open(endpoint, name="test", timeout_ms=timeout_ms)
    try:
        yield wire
    finally:
        wire.close()


@asynccontextmanager
async def stand_in(speak: Speaker) -> AsyncIterator[Endpoint]:
    """A server that says what `speak` says, on a port of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await speak(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield endpoints.parse(f"redis://127.0.0.1:{port}/0")
    finally:
        server.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer CLIENT SETNAME, CLIENT ID and INFO."""
    for reply in (b"+OK\r\n", b":7\r\n", b"-NOPERM no\r\n"):
        await reader.read(4096)
        writer.write(reply)


@pytest.mark.parametrize("address", ["endpoint", "tcp_endpoint"])
def test_replies_come_in_the_order_of_the_requests(redis_server: Server, app_name: str, address: str) -> None:
    async def body() -> None:
        async with opened(getattr(redis_server, address)) as wire:
            futures = [wire.send("ECHO", number) for number in range(1_000)]
            assert await asyncio.gather(*futures) == [str(number).encode() for number in range(1_000)]
            assert wire.bytes_received > 1_000
            await wire.call("SET", app_name, b"\x00\xff\r\n$-1\r\n", "EX", 60)
            assert await wire.call("GET", app_name) == b"\x00\xff\r\n$-1\r\n"
            assert await wire.call("GET", app_name + "-none") is None

    run(body())


def test_the_connection_is_named_and_knows_its_id(redis_server: Server) -> None:
    async def body() -> None:
        async with opened(redis_server.endpoint) as wire:
            assert await wire.call("CLIENT", "GETNAME") == b"test"
            assert await wire.call("CLIENT", "ID") == wire.client_id

    run(body())


def test_the_database_of_the_url_is_selected(redis_server: Server, app_name: str) -> None:
    async def body() -> None:
        other = endpoints.parse(redis_server.url + "?db=3")
        async with opened(other) as three, opened(redis_server.endpoint) as zero:
            await three.call("SET", app_name, "x", "EX", 60)
            assert await zero.call("GET", app_name) is None
            assert await three.call("GET", app_name) == b"x"

    run(body())


def test_a_large_reply_and_a_large_request(redis_server: Server, app_name: str) -> None:
    async def body() -> None:
        big = b"x" * (20 * 1024 * 1024)
        async with opened(redis_server.endpoint) as wire:
            await wire.call("SET", app_name, big, "EX", 60)
            assert await wire.call("GET", app_name) == big
            await wire.call("DEL", app_name)

    run(body())


def test_a_reply_that_is_longer_than_there_is_room_for_is_given_up(redis_server: Server, app_name: str) -> None:
    async def body() -> None:
        async with opened(redis_server.endpoint) as wire:
            await wire.call("SET", app_name, b"x" * 1_000_000, "EX", 60)
            wire.received_most = wire.bytes_received + 1_100_000
            assert len(await wire.call("GET", app_name)) == 1_000_000
            with pytest.raises(ReplyTooLong):
                await wire.call("GET", app_name)
            assert wire.lost is not None

    run(body())


def test_error_replies_are_values_of_their_request_alone(redis_server: Server) -> None:
    async def body() -> None:
        async with opened(redis_server.endpoint) as wire:
            first, second, third = wire.send("ECHO", "1"), wire.send("NONSENSE"), wire.send("ECHO", "3")
            assert [await first, await third] == [b"1", b"3"]
            error = await second
            assert isinstance(error, ReplyError)
            assert error.code == "ERR"
            with pytest.raises(ReplyError, match="unknown command"):
                await wire.call("NONSENSE")
            assert await wire.call("PING") == b"PONG"

    run(body())


def test_a_request_that_cannot_be_written_does_not_shift_the_replies(valkey: Server) -> None:
    async def body() -> None:
        async with opened(valkey.endpoint) as wire:
            before = wire.send("ECHO", "before")
            with pytest.raises(TypeError):
                wire.send("ECHO", object())  # type: ignore[arg-type]
            assert await wire.call("ECHO", "after") == b"after"
            assert await before == b"before"

    run(body())


def test_bytes_that_are_no_text_come_back_as_they_were(valkey: Server) -> None:
    async def body() -> None:
        async with opened(valkey.endpoint) as wire:
            text = b"\xff\x00k".decode("utf-8", "surrogateescape")
            assert await wire.call("ECHO", text) == b"\xff\x00k"
            assert isinstance(await wire.call("ECHO", "\ud800"), bytes)

    run(body())


def test_replies_split_at_every_byte() -> None:
    replies = b"*3\r\n$5\r\nhello\r\n:42\r\n$-1\r\n" + b"-ERR no\r\n" + b"$4\r\n\r\n\r\n\r\n"

    async def stammer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.read(4096)
        for index in range(len(replies)):
            writer.write(replies[index : index + 1])
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    async def body() -> None:
        async with stand_in(stammer) as endpoint, opened(endpoint) as wire:
            futures = [wire.send("A"), wire.send("B"), wire.send("C")]
            one, two, three = await asyncio.gather(*futures)
            assert one == [b"hello", 42, None]
            assert isinstance(two, ReplyError)
            assert three == b"\r\n\r\n"

    run(body())


def test_silence_closes_the_connection_and_fails_all_who_wait() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.read()

    async def body() -> None:
        async with stand_in(mute) as endpoint, opened(endpoint, timeout_ms=100) as wire:
            futures = [wire.send("ECHO", number) for number in range(3)]
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert [type(result) for result in results] == [ConnectionLost] * 3
            assert "within 0.1 s" in str(results[0])
            assert wire.lost is not None
            with pytest.raises(ConnectionLost):
                await wire.call("PING")

    run(body())


def test_who_asks_nothing_may_be_silent_for_long(valkey: Server) -> None:
    async def body() -> None:
        async with opened(valkey.endpoint, timeout_ms=50) as wire:
            for _ in range(3):
                await asyncio.sleep(0.08)
                assert await wire.call("PING") == b"PONG"

    run(body())


def test_answers_that_keep_coming_are_no_silence() -> None:
    """The bound is on silence, not on a request's whole time: a long pipeline may take long."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.read(4096)
        for _ in range(8):
            await asyncio.sleep(0.1)
            writer.write(b"+OK\r\n")
        await reader.read()

    async def body() -> None:
        async with stand_in(slow) as endpoint, opened(endpoint, timeout_ms=400) as wire:
            assert await asyncio.gather(*(wire.send("A") for _ in range(8))) == [b"OK"] * 8

    run(body())


def test_a_cancelled_waiter_does_not_shift_the_replies(valkey: Server) -> None:
    async def body() -> None:
        async with opened(valkey.endpoint) as wire:
            tasks = [asyncio.ensure_future(wire.call("ECHO", number)) for number in range(10)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert results[1::2] == [b"1", b"3", b"5", b"7", b"9"]
            assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
            assert await wire.call("ECHO", "after") == b"after"

    run(body())


def test_a_server_that_goes_away_fails_all_who_wait(valkey_own: Server) -> None:
    async def body() -> None:
        async with opened(valkey_own.endpoint) as wire:
            blocked = [wire.send("BLPOP", "nothing", 0), wire.send("PING")]
            await asyncio.sleep(0)
            valkey_own.kill()
            results = await asyncio.gather(*blocked, return_exceptions=True)
            assert [type(result) for result in results] == [ConnectionLost] * 2
            assert wire.lost is not None
        with pytest.raises(ConnectionLost, match="cannot connect"):
            await Wire.open(valkey_own.tcp_endpoint, name="test", timeout_ms=1_000)
        with pytest.raises(ConnectionLost, match="cannot connect"):
            await Wire.open(valkey_own.endpoint, name="test", timeout_ms=1_000)
        valkey_own.start()
        async with opened(valkey_own.endpoint) as wire:
            assert await wire.call("PING") == b"PONG"

    run(body())


def test_a_server_that_takes_the_connection_and_says_nothing(valkey_own: Server) -> None:
    async def body() -> None:
        valkey_own.pause()
        with pytest.raises(ConnectionLost, match=r"within 0\.2 s"):
            await Wire.open(valkey_own.tcp_endpoint, name="test", timeout_ms=200)

    try:
        run(body())
    finally:
        valkey_own.resume()


def test_who_is_no_redis() -> None:
    async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async def body() -> None:
        async with stand_in(speak_http) as endpoint:
            with pytest.raises(ConnectionLost, match="does not speak the Redis protocol"):
                await Wire.open(endpoint, name="test", timeout_ms=5_000)

    run(body())


def test_a_server_without_room_says_so_unasked(start_server: Callable[..., Server]) -> None:
    server = start_server("valkey", "--maxclients", "1", appendonly=False)

    async def body() -> None:
        async with opened(server.endpoint):
            with pytest.raises((ReplyError, ConnectionLost), match="max number of clients"):
                await Wire.open(server.tcp_endpoint, name="test", timeout_ms=5_000)

    run(body())


def test_what_a_server_says_unasked_is_told(valkey: Server) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.read(4096)
        writer.write(b"+PONG\r\n-ERR max number of clients reached\r\n")

    async def body() -> None:
        async with stand_in(hang_up) as endpoint, opened(endpoint) as wire:
            assert await wire.call("PING") == b"PONG"
            with pytest.raises(ConnectionLost, match="unasked: ERR max number of clients reached"):
                await wire.call("PING")

    run(body())


def test_close_fails_who_waits_and_who_asks_later(valkey: Server) -> None:
    async def body() -> None:
        wire = await Wire.open(valkey.endpoint, name="test", timeout_ms=5_000)
        waiting = wire.send("BLPOP", "nothing-at-all", 0)
        wire.close()
        wire.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await waiting
        with pytest.raises(ConnectionLost):
            await wire.send("PING")

    run(body())


def test_scripts_go_by_text_once_and_then_by_hash(valkey_own: Server) -> None:
    text = "return {ARGV[1], KEYS[1]}"
    called = Script("one", text, hashlib.sha1(text.encode()).hexdigest())

    async def body() -> None:
        async with opened(valkey_own.endpoint) as wire, opened(valkey_own.endpoint) as other:
            for number in range(3):
                assert await wire.run(called, ["k"], [number]) == [str(number).encode(), b"k"]
            stats = (await other.call("INFO", "commandstats")).decode()
            assert "cmdstat_eval:calls=1," in stats
            assert "cmdstat_evalsha:calls=2," in stats

    run(body())


def test_a_flushed_script_cache_is_no_error(redis_server: Server) -> None:
    called = script("lease_release")

    async def body() -> None:
        async with opened(redis_server.endpoint) as wire, opened(redis_server.endpoint) as other:
            for _ in range(3):
                assert await wire.run(called, ["nobodys"], [1, 7, "", "", 0, ""]) == 0
                await other.call("SCRIPT", "FLUSH")
            started = await wire.start(called, ["nobodys"], [1, 7, "", "", 0, ""])
            assert isinstance(started, ReplyError)
            assert started.code == "NOSCRIPT"
            wire.forget_scripts()
            assert await wire.start(called, ["nobodys"], [1, 7, "", "", 0, ""]) == 0

    run(body())


def test_passwords(start_server: Callable[..., Server]) -> None:
    server = start_server("valkey", "--requirepass", "s3cret/#", appendonly=False)

    async def attempt(login: str) -> Any:
        endpoint = endpoints.parse(f"redis://{login}127.0.0.1:{server.port}/0")
        async with opened(endpoint) as wire:
            return await wire.call("PING")

    assert run(attempt(":s3cret%2F%23@")) == b"PONG"
    assert run(attempt("default:s3cret%2F%23@")) == b"PONG"
    with pytest.raises(ReplyError) as wrong:
        run(attempt(":guess@"))
    assert wrong.value.code == "WRONGPASS"
    with pytest.raises(ReplyError) as missing:
        run(attempt(""))
    assert missing.value.code == "NOAUTH"
    assert "guess" not in str(wrong.value)


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, signed by itself; its key lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost",
        "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"),
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl cannot make a certificate: {error}")
    return folder / "cert.pem"


@pytest.fixture
def tls_server(certificate: Path, start_server: Callable[..., Server]) -> str:
    """`localhost:port` of a server that speaks TLS; skips where none was built with it."""
    port = servers.free_port()
    tls = [
        "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-auth-clients", "no",
        "--tls-key-file", str(certificate.parent / "key.pem"), "--tls-ca-cert-file", str(certificate),
    ]  # fmt: skip
    try:
        start_server("redis", *tls, appendonly=False)
    except AssertionError as error:
        pytest.skip(f"no server with TLS: {error}")
    return f"localhost:{port}"


def test_tls_with_a_certificate_that_is_trusted(tls_server: str, certificate: Path) -> None:
    async def body() -> None:
        endpoint = endpoints.parse(f"rediss://{tls_server}/0?ssl_ca_certs={certificate}")
        async with opened(endpoint) as wire:
            futures = [wire.send("ECHO", "x" * 100_000) for _ in range(20)]
            assert set(await asyncio.gather(*futures)) == {b"x" * 100_000}

    run(body())


def test_tls_with_a_certificate_that_nobody_vouches_for(tls_server: str) -> None:
    with pytest.raises(ConnectionLost, match=r"certificate verify failed|self.signed"):
        run(Wire.open(endpoints.parse(f"rediss://{tls_server}/0"), name="test", timeout_ms=5_000))


def test_tls_unverified_if_the_url_says_so(tls_server: str) -> None:
    async def body() -> None:
        async with opened(endpoints.parse(f"rediss://{tls_server}/0?ssl_cert_reqs=none")) as wire:
            assert await wire.call("PING") == b"PONG"

    run(body())


def test_tls_against_a_name_that_the_certificate_has_not(tls_server: str, certificate: Path) -> None:
    port = tls_server.partition(":")[2]
    endpoint = endpoints.parse(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
    with pytest.raises(ConnectionLost, match="IP address mismatch"):
        run(Wire.open(endpoint, name="test", timeout_ms=5_000))


def test_tls_with_a_server_that_speaks_none(valkey: Server) -> None:
    endpoint = endpoints.parse(f"rediss://localhost:{valkey.port}/0")
    with pytest.raises(ConnectionLost, match="cannot connect"):
        run(Wire.open(endpoint, name="test", timeout_ms=5_000))


def test_tls_files_that_are_not_there() -> None:
    endpoint = endpoints.parse("rediss://localhost:1/0?ssl_ca_certs=/nowhere.pem")
    with pytest.raises(errors.UsageError, match="TLS files"):
        run(Wire.open(endpoint, name="test", timeout_ms=5_000))


def test_a_server_that_still_loads_its_file_is_not_back(start_server: Callable[..., Server]) -> None:
    """It answers most of what a new connection asks, and nothing of what the connection is for."""
    slow = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024", "--rdbcompression", "no")
    server = start_server("redis", *slow, appendonly=False)

    async def fill() -> None:
        async with opened(server.endpoint) as wire:
            for number in range(200):
                await wire.call("SET", f"key:{number}", "x" * 1_000)
            await wire.call("SAVE")

    async def meet() -> None:
        for _ in range(3):
            with pytest.raises(ConnectionLost, match="is loading its data still"):
                await Wire.open(server.endpoint, name="test", timeout_ms=10_000)

    run(fill())
    server.kill()
    server.start_loading()
    run(meet())
