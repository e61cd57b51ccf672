"""What the embedded server promises, shown with real processes that come, go and get killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runnelctl.errors import RedisUnreachable, UsageError
from runnelctl.store import embedded, warden
from runnelctl.store.connect import client
from runnelctl.store.embedded import Embedded, ensure
from runnelctl.store.reach import reach
from runnelctl.store.socketpath import socket_path
from tests.waiting import wait_until

pytestmark = pytest.mark.process

NAME = "shop"
#: a user in a process of its own: it says that it is there, and leaves when its stdin ends.
USER = """
import sys, pathlib
from runnelctl.store.embedded import ensure
held = ensure("shop", root=pathlib.Path(sys.argv[1]))
print("up", flush=True)
sys.stdin.read()
"""
#: a user that comes and goes, and must find a server every time.
VISITOR = """
import sys, pathlib
from runnelctl.store.connect import client
from runnelctl.store.embedded import ensure
for _ in range(int(sys.argv[2])):
    with ensure("shop", root=pathlib.Path(sys.argv[1])) as held, client(held.endpoint) as redis:
        redis.incr("visits")
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """A short directory; when the test has let go of everything, the server in it must be gone."""
    directory = Path(tempfile.mkdtemp(prefix="rct-", dir="/tmp"))
    yield directory
    try:
        wait_until(lambda: not wardens(directory), message="the embedded server to end after the test")
    finally:
        for process in wardens(directory):
            process.terminate()
        shutil.rmtree(directory)


@pytest.fixture
def start_user(root: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts users in processes of their own, which hold the server in `root` when the call returns."""
    users: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        user = run(USER, str(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        users.append(user)
        assert user.stdout is not None
        assert user.stdout.readline() == b"up\n"
        return user

    yield start
    for user in users:
        user.kill()
        user.communicate()


def run(code: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, **options)


def folder(root: Path) -> Path:
    return root / ".runnelctl" / NAME


def record(root: Path) -> dict[str, Any]:
    found = json.loads((folder(root) / "server.json").read_text())
    assert isinstance(found, dict)
    return found


def wardens(root: Path) -> list[psutil.Process]:
    """The wardens and servers that work under `root`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        # With the slash: users are given the bare root. A server has its socket in its title.
        if process.info["status"] != psutil.STATUS_ZOMBIE and f"{root}/" in " ".join(words):
            found.append(process)
    return found


def ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def free(lock: Path) -> bool:
    """Whether nobody at all holds the lock."""
    fd = warden.open_lock(lock)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(fd)


def wait_for_end(pid: int) -> None:
    wait_until(lambda: ended(pid), message=f"process {pid} to end")


def set_(held: Embedded, key: str, value: str) -> None:
    with client(held.endpoint) as redis:
        redis.set(key, value)


def get(held: Embedded, key: str) -> object:
    with client(held.endpoint) as redis:
        return redis.get(key)


def test_it_is_private_and_listens_on_no_port(root: Path) -> None:
    with ensure(NAME, root=root) as held:
        assert held.directory == folder(root)
        assert stat.S_IMODE(folder(root).stat().st_mode) == 0o700
        assert stat.S_IMODE(Path(held.endpoint.path).stat().st_mode) == 0o700
        assert (root / ".runnelctl" / ".gitignore").read_text() == "*\n"
        assert psutil.Process(record(root)["pid"]).net_connections(kind="inet") == []
        with client(held.endpoint) as redis:
            expected = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
            assert redis.config_get(*expected) == expected


def test_the_last_to_leave_ends_it_and_the_data_stays(root: Path) -> None:
    with ensure(NAME, root=root) as first:
        pid = record(root)["pid"]
        with ensure(NAME, root=root) as second:
            set_(second, "a", "1")
        assert get(first, "a") == b"1"
        assert record(root)["pid"] == pid
    wait_for_end(pid)
    wait_until(lambda: not wardens(root))
    assert not (folder(root) / "server.json").exists()
    assert not Path(first.endpoint.path).exists()
    with ensure(NAME, root=root) as third:
        assert get(third, "a") == b"1"
        assert record(root)["pid"] != pid


def test_it_ends_with_a_user_who_was_killed(root: Path, start_user: Callable[[], subprocess.Popen[bytes]]) -> None:
    user = start_user()
    pid = record(root)["pid"]
    user.kill()
    wait_for_end(pid)
    assert "bye bye" in (folder(root) / "server.log").read_text()  # in an orderly way, although its user was not


def test_another_user_keeps_it_when_the_starter_is_killed(
    root: Path, start_user: Callable[[], subprocess.Popen[bytes]]
) -> None:
    starter = start_user()
    with ensure(NAME, root=root) as held:
        pid = record(root)["pid"]
        starter.kill()
        starter.wait()
        set_(held, "a", "1")
        assert record(root)["pid"] == pid
    wait_for_end(pid)


def test_a_forked_child_keeps_it(root: Path) -> None:
    held = ensure(NAME, root=root)
    pid = record(root)["pid"]
    wait, release = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(release)
        os.read(wait, 1)
        os._exit(0)
    os.close(wait)
    held.close()
    # The child holds the lock: nobody can have it exclusively, so the warden can't either.
    assert not free(folder(root) / warden.USERS_LOCK)
    with client(held.endpoint) as redis:
        redis.ping()
    os.close(release)
    os.waitpid(child, 0)
    wait_for_end(pid)


def test_a_forked_child_that_closes_it_takes_it_from_nobody(root: Path) -> None:
    with ensure(NAME, root=root) as held:
        child = os.fork()
        if child == 0:
            held.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert not free(folder(root) / warden.USERS_LOCK)


def test_a_program_that_a_user_started_does_not_keep_it(root: Path) -> None:
    held = ensure(NAME, root=root)
    pid = record(root)["pid"]
    stray = subprocess.Popen(["sleep", "1000"], close_fds=False)
    held.close()
    wait_for_end(pid)
    stray.kill()
    stray.wait()


def test_starters_at_once_start_one_server(root: Path) -> None:
    users = [run(USER, str(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)]
    for user in users:
        assert user.stdout is not None
        assert user.stdout.readline() == b"up\n"
    servers = [process for process in wardens(root) if "warden.py" not in " ".join(process.cmdline())]
    assert len(servers) == 1
    for user in users:
        user.communicate()
    assert (folder(root) / "server.log").read_text().count("Ready to accept connections") == 1


def test_visitors_who_come_and_go_find_a_server_every_time(root: Path) -> None:
    visitors = [run(VISITOR, str(root), "15") for _ in range(4)]
    assert [visitor.wait(120) for visitor in visitors] == [0, 0, 0, 0]
    with ensure(NAME, root=root) as held:
        assert get(held, "visits") == b"60"


def test_a_server_that_was_killed_is_started_again_with_its_data(root: Path) -> None:
    with ensure(NAME, root=root) as held:
        set_(held, "a", "1")
        pid = record(root)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        held.revive()
        assert get(held, "a") == b"1"
        assert record(root)["pid"] != pid
        assert "was killed by SIGKILL by itself" in (folder(root) / "server.log").read_text()


def test_a_server_that_keeps_dying_is_given_up_and_revived_by_the_next(root: Path) -> None:
    with ensure(NAME, root=root) as held:
        keeper = record(root)["warden_pid"]
        for _ in range(warden.DEATHS):
            os.kill(wait_until(lambda: _serving(root), message="a server to kill"), signal.SIGKILL)
        wait_for_end(keeper)
        assert "giving up after 5 deaths" in (folder(root) / "server.log").read_text()
        held.revive()
        set_(held, "a", "1")


def _serving(root: Path) -> int:
    try:
        found = record(root)
    except (FileNotFoundError, ValueError):
        return 0
    return int(found["pid"]) if warden.ping(found["socket"]) == "ready" and not ended(found["pid"]) else 0


def test_a_warden_that_was_killed_takes_its_server_along(root: Path) -> None:
    with ensure(NAME, root=root) as held:
        set_(held, "a", "1")
        before = record(root)
        os.kill(before["warden_pid"], signal.SIGKILL)
        wait_until(lambda: free(folder(root) / warden.WARDEN_LOCK), message="the warden to be dead")
        # At once, while the old server may still answer: nobody may be sent to it any more.
        with ensure(NAME, root=root) as newcomer:
            assert record(root)["pid"] != before["pid"]
            assert ended(before["pid"])
            assert get(newcomer, "a") == b"1"
            held.revive()
            assert get(held, "a") == b"1"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_server_ends_with_its_warden_although_nobody_asks(root: Path) -> None:
    with ensure(NAME, root=root):
        before = record(root)
        os.kill(before["warden_pid"], signal.SIGKILL)
        wait_for_end(before["pid"])


def test_no_second_server_starts_while_an_orphan_has_not_ended(root: Path) -> None:
    """The orphan is stopped, so it can neither answer nor end: its data is still its own."""
    with ensure(NAME, root=root) as held:
        set_(held, "a", "1")
        before = record(root)
        os.kill(before["pid"], signal.SIGSTOP)
        os.kill(before["warden_pid"], signal.SIGKILL)
        wait_until(lambda: free(folder(root) / warden.WARDEN_LOCK), message="the warden to be dead")
        assert not free(folder(root) / warden.SERVER_LOCK)
        newcomer = run(USER, str(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        wait_until(lambda: _holders(root) >= 2, message="the newcomer to hold the lock")
        os.kill(before["pid"], signal.SIGCONT)
        assert newcomer.stdout is not None
        assert newcomer.stdout.readline() == b"up\n"
        assert ended(before["pid"])
        held.revive()
        assert get(held, "a") == b"1"
        newcomer.communicate()


def test_a_server_without_a_warden_is_shut_down_and_replaced(root: Path) -> None:
    """As on macOS, where the kernel does not tell the server that its warden was killed."""
    with ensure(NAME, root=root) as held:
        before = record(root)
    wait_for_end(before["pid"])
    wait_until(lambda: not wardens(root))
    lock = warden.open_lock(folder(root) / warden.SERVER_LOCK)
    fcntl.flock(lock, fcntl.LOCK_EX)
    data = str(folder(root) / "data")
    orphan = subprocess.Popen(
        [
            *(before["binary"], "--port", "0", "--unixsocket", held.endpoint.path, "--dir", data),
            *("--appendonly", "yes", "--save", ""),
        ],
        pass_fds=(lock,),
        stdout=subprocess.DEVNULL,
    )
    os.close(lock)
    wait_until(lambda: warden.ping(held.endpoint.path) == "ready")
    with ensure(NAME, root=root) as newcomer:
        assert orphan.wait(20) == 0
        set_(newcomer, "a", "1")


@pytest.mark.parametrize("left", ["", "{", "[]", '{"pid": 1, "socket": "/nowhere/s", "boot_id": "x", "host": "y"}'])
def test_what_a_power_cut_left_behind_is_no_obstacle(root: Path, left: str) -> None:
    folder(root).mkdir(parents=True)
    (folder(root) / "server.json").write_text(left)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(socket_path(folder(root)))
    with ensure(NAME, root=root) as held:
        set_(held, "a", "1")
        assert record(root)["pid"] > 1


def test_a_long_path_gets_its_socket_elsewhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temp = root / "tmp"
    temp.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    deep = root / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with ensure(NAME, root=deep) as held:
        where = Path(held.endpoint.path)
        assert where.parent == temp / f"runnelctl-{os.geteuid()}"
        assert stat.S_IMODE(where.parent.stat().st_mode) == 0o700
        set_(held, "a", "1")
        # Another shell, with another TMPDIR, finds it all the same.
        monkeypatch.setattr(tempfile, "tempdir", "/tmp")
        with ensure(NAME, root=deep) as other:
            assert other.endpoint == held.endpoint
    wait_until(lambda: not where.exists(), message="the socket to be removed")


def test_a_newcomer_waits_for_a_server_that_is_starting_and_outlives_its_starter(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The starter is killed in the middle; the newcomer gets that very server, and it stays."""
    gate = root / "gate"
    os.mkfifo(gate)
    slow = root / "slow-server"
    slow.write_text(f'#!/bin/sh\nread _ < {gate}\nexec {embedded.binary()} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("RUNNELCTL_VALKEY", str(slow))
    starter = run(USER, str(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_until((folder(root) / "server.json").exists, message="the server to be started")
    newcomer = run(USER, str(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_until(lambda: _holders(root) >= 2, message="the newcomer to hold the lock")
    starter.kill()
    starter.communicate()
    gate.write_text("go\n")
    assert newcomer.stdout is not None
    assert newcomer.stdout.readline() == b"up\n"
    assert (folder(root) / "server.log").read_text().count("Ready to accept connections") == 1
    newcomer.communicate()


def _holders(root: Path) -> int:
    """How many processes hold users.lock, as the kernel lists it."""
    inode = (folder(root) / warden.USERS_LOCK).stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return sum(f":{inode} " in line and "FLOCK" in line and "READ" in line for line in lines)


def test_a_starter_killed_in_the_middle_leaves_no_server(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = root / "gate"
    os.mkfifo(gate)
    slow = root / "slow-server"
    slow.write_text(f'#!/bin/sh\nread _ < {gate}\nexec {embedded.binary()} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("RUNNELCTL_VALKEY", str(slow))
    starter = run(USER, str(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pid = wait_until(lambda: (folder(root) / "server.json").exists() and record(root)["pid"])
    starter.kill()
    starter.communicate()
    wait_for_end(pid)
    wait_until(lambda: not wardens(root))


def test_a_directory_that_is_removed_is_made_anew(root: Path) -> None:
    with ensure(NAME, root=root) as old:
        before = record(root)
        shutil.rmtree(root / ".runnelctl")
        with ensure(NAME, root=root) as new:
            set_(new, "a", "1")
            old.close()
            wait_for_end(before["warden_pid"])
            assert get(new, "a") == b"1"
            assert record(root)["pid"] != before["pid"]


def test_a_newcomer_that_waited_in_a_removed_directory_takes_the_new_lock(root: Path) -> None:
    folder(root).mkdir(parents=True)
    lock = folder(root) / warden.USERS_LOCK
    ending = warden.open_lock(lock)
    fcntl.flock(ending, fcntl.LOCK_EX)  # as a warden does while its server ends
    newcomer = run(USER, str(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    files = psutil.Process(newcomer.pid).open_files
    wait_until(lambda: any(file.path == str(lock) for file in files()), message="the newcomer to wait for the lock")
    shutil.rmtree(root / ".runnelctl")
    os.close(ending)
    assert newcomer.stdout is not None
    assert newcomer.stdout.readline() == b"up\n"
    assert not free(lock)
    newcomer.communicate()


def test_damaged_data_is_told_with_the_command_that_mends_it(root: Path) -> None:
    with ensure(NAME, root=root) as held:
        for number in range(100):
            set_(held, f"k{number}", "x" * 50)
        pid = record(root)["warden_pid"]
    wait_for_end(pid)
    (file,) = (folder(root) / "data" / "appendonlydir").glob("*.incr.aof")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = b"\0" * 20
    file.write_bytes(content)
    with pytest.raises(RedisUnreachable) as caught:
        ensure(NAME, root=root)
    said = str(caught.value)
    assert "its append-only file is damaged" in said
    assert "Bad file format" in said
    command = said.partition("in bash: ")[2].partition("\n")[0]
    subprocess.run(["bash", "-c", command], input=b"y\n", check=True, stdout=subprocess.DEVNULL)
    with ensure(NAME, root=root) as held:
        assert get(held, "k10") == b"x" * 50


def test_a_lock_held_by_another_machine_is_told(root: Path) -> None:
    folder(root).mkdir(parents=True)
    (folder(root) / "server.json").write_text(json.dumps({"host": "elsewhere", "boot_id": "another", "pid": 7}))
    lock = warden.open_lock(folder(root) / warden.SERVER_LOCK)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(RedisUnreachable, match="runs on the machine elsewhere"):
        ensure(NAME, root=root)
    os.close(lock)


def test_a_server_that_never_answers_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PATIENCE_S", 0)
    folder(root).mkdir(parents=True)
    lock = warden.open_lock(folder(root) / warden.SERVER_LOCK)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(RedisUnreachable, match="runs but does not answer"):
        ensure(NAME, root=root)
    os.close(lock)


def test_a_program_that_is_no_server_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNELCTL_VALKEY", "/bin/false")
    with pytest.raises(RedisUnreachable, match="does not start: it ended with exit code 1"):
        ensure(NAME, root=root)


def test_a_file_in_the_way_is_told(root: Path) -> None:
    (root / ".runnelctl").write_text("")
    with pytest.raises(RedisUnreachable, match="Not a directory"):
        ensure(NAME, root=root)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x"])
def test_a_name_that_leads_elsewhere_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UsageError):
        ensure(name, root=root)


def test_reach_takes_embedded_and_urls(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNELCTL_DIR", str(root))
    with reach("embedded", NAME) as reached:
        assert reached.embedded is not None
        assert reached.embedded.directory == folder(root)
        set_(reached.embedded, "a", "1")
    with reach("redis://db:7000/1", NAME) as reached:
        assert reached.embedded is None
        assert reached.endpoint.shown == "redis://db:7000/1"


def test_the_current_directory_is_the_default(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNNELCTL_DIR", raising=False)
    monkeypatch.chdir(root)
    with ensure(NAME) as held:
        assert held.directory == folder(root)
        monkeypatch.chdir("/")
        held.revive()
