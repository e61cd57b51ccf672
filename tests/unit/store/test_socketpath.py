"""The socket's path is short, and its place is private."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runnelctl.errors import RedisUnreachable
from runnelctl.store.socketpath import LONGEST_BYTES, socket_path


@pytest.fixture
def temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temp dir of the test's own, with a short path."""
    directory = Path(tempfile.mkdtemp(prefix="rct-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    directory = tmp_path / ("ü" * 60)
    directory.mkdir()
    return directory


def test_a_short_directory_holds_its_socket(temp: Path) -> None:
    path = socket_path(temp)
    assert Path(path).parent == temp
    assert socket_path(temp) == path


def test_a_long_one_has_it_in_a_private_place(temp: Path, deep: Path, tmp_path: Path) -> None:
    path = socket_path(deep)
    assert Path(path).parent == temp / f"runnelctl-{os.geteuid()}"
    assert socket_path(deep) == path
    other = tmp_path / ("o" * 120)
    other.mkdir()
    assert socket_path(other) != path


def test_a_long_temp_dir_is_not_used(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    path = socket_path(deep)
    assert path.startswith("/tmp/runnelctl-")
    assert len(os.fsencode(path)) <= LONGEST_BYTES


def test_a_link_in_its_place_is_refused(temp: Path, deep: Path) -> None:
    (temp / "elsewhere").mkdir(mode=0o700)
    (temp / f"runnelctl-{os.geteuid()}").symlink_to(temp / "elsewhere")
    with pytest.raises(RedisUnreachable, match="only you can use"):
        socket_path(deep)


def test_a_place_that_others_can_use_is_refused(temp: Path, deep: Path) -> None:
    place = temp / f"runnelctl-{os.geteuid()}"
    place.mkdir()
    place.chmod(0o750)
    with pytest.raises(RedisUnreachable, match="only you can use"):
        socket_path(deep)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_place_that_is_somebody_elses_is_refused(temp: Path, deep: Path) -> None:
    place = temp / f"runnelctl-{os.geteuid()}"
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)
    with pytest.raises(RedisUnreachable, match="only you can use"):
        socket_path(deep)
