"""Hosts in the background: `up --detach`, `logs` and `down`, and what must never be signalled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runnelctl.runtime import homes, processes
from tests.process import ups
from tests.process.shop import Shop, in_order
from tests.process.ups import Up
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, app_name: str) -> Iterator[Shop]:
    yield Shop(tmp_path, app_name, valkey.url)
    for home in homes.found(tmp_path):  # nothing outlives a test, even one that fails
        if home.alive and processes.started(home.pid) == home.started:
            os.kill(home.pid, signal.SIGKILL)


def run(shop: Shop, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return ups.command(shop.directory, *arguments, **extra)


def test_a_detached_host_works_logs_and_goes_down(shop: Shop) -> None:
    started = run(shop, "up", "--detach", "--wait")
    assert started.returncode == 0, started.stderr
    (home,) = homes.found(shop.directory)
    assert home.ready
    shop.send(shop.orders(range(20), bad=[4]))
    wait_until(lambda: len(shop.blocked()) == 1)
    shown = run(shop, "logs")
    assert "ValueError: bad order 4" in shown.stdout
    assert "runnelctl" in shown.stdout
    of_bill = run(shop, "logs", "bill", "-n", "2").stdout.splitlines()
    assert of_bill[-1].endswith("ValueError: bad order 4")
    assert len(of_bill) == 2
    lines = [run(shop, "logs", f"bill.{number}").stdout for number in (0, 1)]
    assert sorted("bad order 4" in text for text in lines) == [False, True]
    ended = run(shop, "down")
    assert ended.returncode == 0, ended.stderr
    assert f"{home.host} ended" in ended.stderr
    assert not home.alive
    assert "SIGTERM: draining" in run(shop, "logs").stdout, "the log of the last one stays"
    again = run(shop, "down")
    assert (again.returncode, "nothing is up" in again.stderr) == (0, True)


def test_a_second_detached_host_shares_the_partitions(shop: Shop) -> None:
    for _ in range(2):
        started = run(shop, "up", "--detach", "--wait")
        assert started.returncode == 0, started.stderr
    first, second = homes.found(shop.directory)
    assert "up: 2 slice(s), 2 of 4 partition(s) here" in second.log.read_text()
    shop.send(shop.orders(range(40)))
    wait_until(lambda: shop.effects() == in_order(range(40)))
    assert run(shop, "down").returncode == 0
    assert not first.alive
    assert not second.alive


def test_it_outlives_the_terminal_that_started_it(shop: Shop) -> None:
    terminal, inside = os.openpty()
    shell = subprocess.Popen(
        [sys.executable, "-m", "runnelctl", "up", "--detach"],
        cwd=shop.directory, env=ups.environment(), stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
    )  # fmt: skip
    os.close(inside)
    assert shell.wait(60) == 0
    os.close(terminal)  # hangs up
    shop.send(shop.orders(range(20)))
    wait_until(lambda: shop.effects() == in_order(range(20)))
    assert run(shop, "down").returncode == 0


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda text: text.replace("handlers:bill", "handlers:bull"), 3, "bull"),
        (lambda text: text.replace("policy:", "polcy:"), 2, "polcy"),
        (lambda text: text.replace("redis: unix", "redis: unix:///nowhere #"), 69, "nowhere"),
    ],
)
def test_a_host_that_cannot_start_says_why(shop: Shop, change: Callable[[str], str], code: int, said: str) -> None:
    shop.file.write_text(change(shop.file.read_text()))
    started = run(shop, "up", "--detach", "--wait")
    assert started.returncode == code, started.stderr
    assert said in started.stderr
    assert not any(home.alive for home in homes.found(shop.directory))


def test_a_host_is_up_though_there_is_nothing_for_it_to_do(shop: Shop) -> None:
    shop.send(shop.orders(range(4), bad=[0, 1, 2, 3]))
    assert run(shop, "up", "--drain").returncode == 1
    assert len(shop.blocked()) == 4
    started = run(shop, "up", "--detach", "--wait")
    assert started.returncode == 0, started.stderr
    assert run(shop, "down").returncode == 0


def test_logs_follow_until_the_host_ends(shop: Shop) -> None:
    assert run(shop, "up", "--detach", "--wait").returncode == 0
    with subprocess.Popen(
        [sys.executable, "-m", "runnelctl", "logs", "-f"],
        cwd=shop.directory, env=ups.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    ) as follower:  # fmt: skip
        assert follower.stdout is not None
        shop.send(shop.orders(range(4), bad=[0]))
        for line in follower.stdout:
            if "bad order 0" in line:
                break
        assert run(shop, "down").returncode == 0
        assert "SIGTERM" in follower.stdout.read()
        assert follower.wait(30) == 0


def test_down_stops_a_host_in_the_foreground_and_its_exit_code_is_0(shop: Shop, start_up: Callable[..., Up]) -> None:
    up = start_up(shop.directory).wait_ready()
    assert run(shop, "down").returncode == 0
    assert up.wait() == 0


def test_down_on_all_hosts_reaches_another_directory(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory, valkey: Server, start_up: Callable[..., Up]
) -> None:
    elsewhere = Shop(tmp_path_factory.mktemp("elsewhere"), shop.name, valkey.url)
    up = start_up(elsewhere.directory).wait_ready()
    assert "nothing is up from here" in run(shop, "down").stderr
    assert up.process.poll() is None
    ended = run(shop, "down", "--all-hosts")
    assert ended.returncode == 0, ended.stderr
    assert up.wait() == 0
    assert "ended" in ended.stderr
    assert "nothing is up anywhere" in run(shop, "down", "--all-hosts").stderr


def test_down_never_signals_a_stranger(shop: Shop, start_up: Callable[..., Up]) -> None:
    up = start_up(shop.directory).wait_ready()
    home = up.home
    assert home is not None
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        record = home.directory / "host.json"
        about = json.loads(record.read_text())
        record.write_text(json.dumps(about | {"pid": stranger.pid}))
        ended = run(shop, "down", "--timeout", "1s")
        assert ended.returncode == 1
        assert "cannot be found by its pid" in ended.stderr
        assert stranger.poll() is None
        assert up.process.poll() is None
    finally:
        stranger.communicate(b"\n")


def test_down_says_when_a_host_does_not_end_in_time(shop: Shop, start_up: Callable[..., Up]) -> None:
    up = start_up(shop.directory).wait_ready()
    up.process.send_signal(signal.SIGSTOP)
    ended = run(shop, "down", "--timeout", "100ms")
    assert ended.returncode == 1
    assert "still" in ended.stderr
    up.process.send_signal(signal.SIGCONT)
    assert up.wait() == 0


def test_logs_of_a_topology_that_never_ran_detached(shop: Shop) -> None:
    ended = run(shop, "logs")
    assert ended.returncode == 1
    assert "up --detach" in ended.stderr
