"""Which file is meant when the command line does not say."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from runnelctl import errors, topology


@contextmanager
def host(cwd: Path, name: str, file: object) -> Iterator[Path]:
    """A host's record with its lock held, as `up` leaves it while it runs."""
    folder = cwd / ".runnelctl" / "shop" / "hosts" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "host.json").write_text(json.dumps({"topology": file}))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def test_the_order(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").touch()
    environ = {"RUNNELCTL_TOPOLOGY": "env.yaml"}
    with host(tmp_path, "1", "/up.yaml"):
        assert topology.find("given.yaml", environ, tmp_path) == Path("given.yaml")
        assert topology.find(None, environ, tmp_path) == Path("env.yaml")
        assert topology.find(None, {}, tmp_path) == Path("/up.yaml")
    assert topology.find(None, {"RUNNELCTL_TOPOLOGY": ""}, tmp_path) == Path("topology.yaml")


def test_two_hosts_of_one_file_are_one_answer_and_of_two_files_none(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(host(tmp_path, "1", "/a.yaml"))
        stack.enter_context(host(tmp_path, "2", "/a.yaml"))
        assert topology.find(None, {}, tmp_path) == Path("/a.yaml")
        stack.enter_context(host(tmp_path, "3", "/b.yaml"))
        with pytest.raises(
            errors.UsageError, match=r"several topologies are up from here: /a.yaml, /b.yaml; say which"
        ):
            topology.find(None, {}, tmp_path)


def test_broken_records_and_hosts_without_a_lock_do_not_count(tmp_path: Path) -> None:
    with host(tmp_path, "1", 3), host(tmp_path, "2", "/a.yaml") as folder:
        (tmp_path / ".runnelctl/shop/hosts/1/host.json").write_text("{")
        (folder / "lock").unlink()
        with pytest.raises(errors.UsageError, match=r"no topology: give a file with -t FILE or \$RUNNELCTL_TOPOLOGY"):
            topology.find(None, {}, tmp_path)


def test_asking_leaves_the_lock_as_it_was(tmp_path: Path) -> None:
    with host(tmp_path, "1", "/a.yaml") as folder:
        pass
    (tmp_path / "topology.yaml").touch()
    assert topology.find(None, {}, tmp_path) == Path("topology.yaml")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
