"""The fixtures do what the other tests believe they do."""

from __future__ import annotations

import redis

from tests.servers import Server


def test_the_shared_server_answers_on_both_addresses(redis_server: Server, app_name: str) -> None:
    with redis.Redis.from_url(redis_server.url) as by_socket, redis.Redis.from_url(redis_server.tcp_url) as by_port:
        by_socket.set(app_name, "x", ex=60)
        assert by_port.get(app_name) == b"x"
        assert by_port.config_get("appendonly") == {"appendonly": "yes"}


def test_a_private_server_keeps_its_data_over_stop_and_kill(valkey_own: Server) -> None:
    with redis.Redis.from_url(valkey_own.url) as client:
        client.set("a", "1")
    valkey_own.stop()
    assert not valkey_own.answers()
    valkey_own.start()
    valkey_own.kill()
    valkey_own.start()
    with redis.Redis.from_url(valkey_own.tcp_url) as client:
        assert client.get("a") == b"1"


def test_a_paused_server_answers_after_it_is_resumed(valkey_own: Server) -> None:
    with redis.Redis.from_url(valkey_own.url, socket_timeout=0.2, retry=None) as client:
        valkey_own.pause()
        try:
            client.ping()
        except redis.TimeoutError:
            answered = False
        else:
            answered = True
        valkey_own.resume()
    assert not answered
    assert valkey_own.answers()
