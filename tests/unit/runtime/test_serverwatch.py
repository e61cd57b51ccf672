"""What a server's own figures say of it while we run on it."""

from __future__ import annotations

from runnelctl.runtime.serverwatch import parsed, troubles


def test_info_is_read_line_by_line() -> None:
    assert parsed(b"# Memory\r\nused_memory:1\r\nmaxmemory_policy:noeviction\r\n") == {
        "used_memory": "1",
        "maxmemory_policy": "noeviction",
    }


def test_a_server_in_order() -> None:
    assert troubles({"maxmemory_policy": "noeviction", "aof_enabled": "1", "aof_last_write_status": "ok"}) == []
    assert troubles({}) == []
    assert troubles({"aof_enabled": "0", "aof_last_write_status": "err"}) == []


def test_eviction_and_a_full_disk() -> None:
    (evicts,) = troubles({"maxmemory_policy": "allkeys-lru"})
    assert "maxmemory-policy was changed to allkeys-lru" in evicts
    (full,) = troubles({"aof_enabled": "1", "aof_last_write_status": "err"})
    assert "its disk may be full" in full
