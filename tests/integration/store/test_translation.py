"""Every way in which a server can be of no use, from a real one where that is practical, ends in one clear sentence."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis.exceptions

from runnelctl.errors import RedisUnfit, RedisUnreachable, RunnelctlError, UsageError
from runnelctl.store.connect import client, client_async, line, translate, translated
from runnelctl.store.endpoint import Endpoint, parse
from tests import servers
from tests.servers import Server
from tests.waiting import wait_until


def told(endpoint: Endpoint, *command: str, timeout_ms: int = 5_000) -> RunnelctlError:
    """What all kinds of client make of `command` at `endpoint`; they must agree."""

    async def by_asyncio() -> None:
        connection = client_async(endpoint, timeout_ms=timeout_ms)
        try:
            with translated(endpoint):
                await connection.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            await connection.aclose()

    def by_blocking() -> None:
        with client(endpoint, timeout_ms=timeout_ms) as connection, translated(endpoint):
            connection.execute_command(*command)

    with pytest.raises(RunnelctlError) as blocking:
        by_blocking()
    with pytest.raises(RunnelctlError) as light, translated(endpoint), line(endpoint, timeout_ms=timeout_ms) as asked:
        asked.execute_command(*command)
    assert str(light.value) == str(blocking.value)
    assert type(light.value) is type(blocking.value)
    with pytest.raises(RunnelctlError) as asynchronous:
        asyncio.run(by_asyncio())
    assert str(asynchronous.value) == str(blocking.value)
    assert type(asynchronous.value) is type(blocking.value)
    assert "\n" not in str(blocking.value)
    return blocking.value


@contextmanager
def answering(reply: bytes) -> Iterator[Endpoint]:
    """A TCP server that says `reply` to whoever connects, and hangs up; with b"" it says nothing and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1024)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield parse(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_nothing_listens() -> None:
    error = told(parse(f"redis://me:s3cret@127.0.0.1:{servers.free_port()}"), "PING")
    assert isinstance(error, RedisUnreachable)
    assert "refuses the connection" in str(error)
    assert "s3cret" not in str(error)


def test_no_such_socket() -> None:
    error = told(parse("unix:///nowhere/redis.sock"), "PING")
    assert isinstance(error, RedisUnreachable)
    assert str(error).startswith("there is no socket /nowhere/redis.sock")


def test_a_dead_servers_socket(valkey_own: Server) -> None:
    valkey_own.kill()
    assert "refuses the connection" in str(told(valkey_own.endpoint, "PING"))


def test_no_such_host() -> None:
    error = told(parse("redis://no-such-host.invalid"), "PING")
    assert isinstance(error, RedisUnreachable)
    assert "'no-such-host.invalid'" in str(error)
    assert "cannot be found" in str(error)


def test_a_server_that_does_not_answer(valkey_own: Server) -> None:
    valkey_own.pause()
    for endpoint in (valkey_own.endpoint, valkey_own.tcp_endpoint):
        error = told(endpoint, "PING", timeout_ms=100)
        assert isinstance(error, RedisUnreachable)
        assert "does not answer in time" in str(error)
    valkey_own.resume()


def test_passwords(start_server: Callable[..., Server], server_kind: str) -> None:
    server = start_server(server_kind, "--requirepass", "right")
    missing = told(server.endpoint, "PING")
    assert isinstance(missing, RedisUnreachable)
    assert "needs a password" in str(missing)
    wrong = told(parse(f"redis://:s3cret@127.0.0.1:{server.port}"), "PING")
    assert isinstance(wrong, RedisUnreachable)
    assert "refuses the user name or password" in str(wrong)
    assert "s3cret" not in str(wrong)
    for url in (f"redis://:right@127.0.0.1:{server.port}", f"{server.url}?password=right"):
        with client(parse(url)) as connection:
            assert connection.ping()


def test_a_password_for_a_server_that_has_none(redis_server: Server) -> None:
    error = told(parse(f"redis://:x@127.0.0.1:{redis_server.port}"), "PING")
    assert isinstance(error, RedisUnreachable)
    assert "has no password set" in str(error)


def test_a_user_who_may_not(valkey_own: Server) -> None:
    with client(valkey_own.endpoint) as connection:
        connection.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "+ping", "+client")
    error = told(parse(f"redis://weak:pw@127.0.0.1:{valkey_own.port}"), "SET", "a", "1")
    assert isinstance(error, RedisUnfit)
    assert "does not let this user" in str(error)
    assert "'set'" in str(error)


def test_a_replica(start_server: Callable[..., Server], server_kind: str) -> None:
    primary = start_server(server_kind)
    replica = start_server(server_kind, "--replicaof", f"127.0.0.1 {primary.port}")
    error = told(replica.endpoint, "SET", "a", "1")
    assert isinstance(error, RedisUnfit)
    assert "read-only replica" in str(error)


def test_a_replica_that_lost_its_primary(start_server: Callable[..., Server], server_kind: str) -> None:
    replica = start_server(
        server_kind, "--replicaof", f"127.0.0.1 {servers.free_port()}", "--replica-serve-stale-data", "no"
    )
    error = told(replica.endpoint, "GET", "a")
    assert isinstance(error, RedisUnreachable)
    assert "lost its primary" in str(error)


def test_full_memory(start_server: Callable[..., Server], server_kind: str) -> None:
    server = start_server(server_kind, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
    error = told(server.endpoint, "SET", "a", "1")
    assert isinstance(error, RedisUnfit)
    assert "is full" in str(error)
    in_a_script = told(server.endpoint, "EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "a")
    assert "is full" in str(in_a_script)


def test_a_disk_that_takes_no_snapshot(start_server: Callable[..., Server], server_kind: str) -> None:
    server = start_server(server_kind, appendonly=False)
    with client(server.endpoint) as connection:
        # A directory where the snapshot should go: saving fails, as it does on a full disk.
        (server.directory / "dump.rdb").mkdir()
        connection.config_set("save", "900 1")
        connection.set("a", "1")
        with pytest.raises(redis.exceptions.ResponseError):
            connection.save()
        connection.config_set("save", "1 1")
        connection.execute_command("BGSAVE")
        wait_until(lambda: connection.info("persistence")["rdb_last_bgsave_status"] == "err")
    error = told(server.endpoint, "SET", "a", "1")
    assert isinstance(error, RedisUnfit)
    assert "takes no writes because it cannot save" in str(error)


def test_too_few_replicas(start_server: Callable[..., Server]) -> None:
    server = start_server("valkey", "--min-replicas-to-write", "1")
    assert "min-replicas-to-write" in str(told(server.endpoint, "SET", "a", "1"))


def test_too_many_clients(start_server: Callable[..., Server], server_kind: str) -> None:
    server = start_server(server_kind, "--maxclients", "1")
    with client(server.endpoint) as connection:
        connection.ping()
        # Whether the server's word or the end of the connection arrives first is chance: `told` may see both.
        other = client(server.endpoint)
        with pytest.raises(RedisUnreachable, match="maxclients"), translated(server.endpoint):
            other.ping()
        other.close()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not Redis"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is not Redis"),
        (b"\x00\xff\xfe garbage", "is not Redis"),
        (b"", "expects TLS (rediss://)"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "still loading"),
        (b"-DENIED Redis is running in protected mode because ...\r\n", "protected mode"),
        (b"-BUSY Redis is busy running a script.\r\n", "SCRIPT KILL"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "cluster that is down"),
    ],
)
def test_what_answers_is_strange(reply: bytes, expected: str) -> None:
    with answering(reply) as endpoint:
        error = told(endpoint, "PING")
    assert isinstance(error, RedisUnreachable)
    assert expected in str(error)


@pytest.fixture
def tls_server(start_server: Callable[..., Server], tmp_path: Path) -> tuple[str, Path]:
    """The URL of a redis-server that speaks TLS only, and the certificate to trust it by."""
    if servers.binary("redis") is None or shutil.which("openssl") is None:
        pytest.skip("needs redis-server, built with TLS, and openssl")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key)),
            *("-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    port = servers.free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    start_server("redis", *options, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no")
    return f"rediss://localhost:{port}", certificate


def test_tls(tls_server: tuple[str, Path]) -> None:
    url, certificate = tls_server
    for good in (f"{url}?ssl_ca_certs={certificate}", f"{url}?ssl_cert_reqs=none"):
        with client(parse(good)) as connection:
            assert connection.ping()
    untrusted = told(parse(url), "PING")
    assert isinstance(untrusted, RedisUnreachable)
    assert "is not trusted" in str(untrusted)
    assert "ssl_ca_certs" in str(untrusted)
    by_another_name = told(parse(f"{url}?ssl_ca_certs={certificate}".replace("localhost", "127.0.0.1")), "PING")
    assert "is not trusted" in str(by_another_name)
    plain = told(parse(url.replace("rediss", "redis")), "PING")
    assert isinstance(plain, RedisUnreachable)
    missing = told(parse(f"{url}?ssl_ca_certs=/nowhere.pem"), "PING")
    assert "does not exist" in str(missing)


def test_tls_with_a_server_that_has_none(valkey: Server) -> None:
    error = told(parse(valkey.tcp_url.replace("redis:", "rediss:")), "PING", timeout_ms=1_000)
    assert isinstance(error, RedisUnreachable)


def test_no_command_is_ever_sent_twice(valkey_own: Server) -> None:
    """With redis-py's defaults, a reply that comes too late makes the same XADD happen again."""
    with client(valkey_own.endpoint, timeout_ms=100) as connection:
        connection.ping()
        valkey_own.pause()
        with pytest.raises(redis.exceptions.TimeoutError):
            connection.xadd("events", {"data": "1"})
        valkey_own.resume()
    with client(valkey_own.endpoint) as connection:
        assert connection.xlen("events") == 1


def test_a_client_has_a_name_that_redis_takes(redis_server: Server) -> None:
    with client(redis_server.endpoint, client_name="keeper web 1\n") as connection:
        assert connection.client_getname() == "keeper-web-1-"


def test_errors_that_are_not_about_redis_pass_through(valkey: Server) -> None:
    with pytest.raises(FileNotFoundError), translated(valkey.endpoint):
        Path("/nowhere").read_text()
    with pytest.raises(ZeroDivisionError), translated(valkey.endpoint):
        _ = 1 / 0
    with pytest.raises(BrokenPipeError), translated(valkey.endpoint):
        raise BrokenPipeError(32, "Broken pipe")
    mine = UsageError("x")
    assert translate(mine, valkey.endpoint) is mine


def test_any_other_refusal_is_told_as_it_is(valkey: Server, app_name: str) -> None:
    with client(valkey.endpoint) as connection:
        connection.set(app_name, "1", ex=60)
    error = told(valkey.endpoint, "XLEN", app_name)
    assert isinstance(error, RedisUnfit)
    assert "WRONGTYPE" in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open any socket")
def test_a_socket_of_somebody_else(valkey_own: Server) -> None:
    valkey_own.socket.chmod(0)
    assert "no permission" in str(told(valkey_own.endpoint, "PING"))
