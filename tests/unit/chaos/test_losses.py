"""How an append-only file is torn."""

from pathlib import Path

import pytest

from tests.chaos.losses import spare_transactions

_MULTI, _SET, _EXEC = b"*1\r\n$5\r\nMULTI\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n", b"*1\r\n$4\r\nEXEC\r\n"


@pytest.mark.parametrize(
    ("torn", "left"),
    [
        (_SET + _MULTI + _SET + _SET[:9], _SET + _MULTI[:3]),
        (_MULTI + _SET + _EXEC + _MULTI + _SET, _MULTI + _SET + _EXEC + _MULTI[:3]),
        (_MULTI + _SET + _EXEC + _SET[:9], _MULTI + _SET + _EXEC + _SET[:9]),
        (_SET, _SET),
    ],
)
def test_a_file_for_redis_70_breaks_off_before_a_transaction(tmp_path: Path, torn: bytes, left: bytes) -> None:
    file = tmp_path / "appendonly.aof.1.incr.aof"
    file.write_bytes(torn)
    spare_transactions(file)
    assert file.read_bytes() == left
