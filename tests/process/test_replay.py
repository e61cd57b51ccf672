"""`runnelctl replay` on real hosts: what is blocked, put back in order, with an `up` running and with none."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from runnelctl.core import keys
from tests.process import ups
from tests.process.shop import USERS, Shop, in_order
from tests.process.ups import Up
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

SHIP = '  ship: {stream: orders, handler: "handlers:ship", processes: 1}'


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, app_name: str) -> Shop:
    return Shop(tmp_path, app_name, valkey.url)


def replay(shop: Shop, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return ups.command(shop.directory, "replay", *arguments, **extra)


def drained_but(shop: Shop, blocked: int) -> None:
    """Run `up --drain` to the point where `blocked` partitions are left."""
    ended = ups.command(shop.directory, "up", "--drain")
    assert ended.returncode == 1, ended.stderr
    assert len(shop.blocked()) == blocked


def editor(shop: Shop, code: str) -> str:
    """A program that changes a file as `code` says: `text` in, `text` out."""
    program = shop.directory / "edit"
    program.write_text(
        f"#!{sys.executable}\nimport sys, pathlib\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
        f"{code}\nfile.write_text(text)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def audit(valkey: Server, shop: Shop) -> list[dict[str, str]]:
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        return [fields for _, fields in client.xrange(keys.audit(shop.name))]


def test_with_an_up_running_the_partition_goes_on_there_in_order(shop: Shop, start_up: Callable[..., Up]) -> None:
    shop.send(shop.orders(range(100), bad=[40, 41]))
    up = start_up(shop.directory).wait_ready()
    wait_until(lambda: len(shop.blocked()) == 2)
    done = in_order(range(100))
    wait_until(lambda: [shop.effects().get(healthy) for healthy in (2, 3)] == [done[2], done[3]])
    pid = up.pid
    (zero, one) = shop.blocked()
    assert (zero["partition"], zero["state"], zero["waiting"]) == (0, "quarantined", 14)
    assert (zero["error"]["key"], zero["error"]["type"]) == (USERS[0], "ValueError")
    shop.mend()
    ended = replay(shop, "bill:0", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert shop.effects()[0] == in_order(range(100))[0]
    assert [each["partition"] for each in shop.blocked()] == [one["partition"]]
    assert replay(shop, "--yes").returncode == 0
    assert shop.effects() == in_order(range(100))
    assert (up.process.poll(), up.pid) == (None, pid)
    assert up.stop() == 0


def test_with_no_up_it_runs_the_handler_itself(shop: Shop, valkey: Server) -> None:
    shop.send(shop.orders(range(100), bad=[40, 41]))
    drained_but(shop, 2)
    shop.send(shop.orders(range(100, 120)))
    shop.mend()
    ended = replay(shop, "bill:1", "--yes", "--reason", "the bug is fixed")
    assert ended.returncode == 0, ended.stderr
    done, late = in_order(range(120)), in_order(range(100))
    assert shop.effects()[1] == done[1], "the replayed partition is handled to its end"
    assert shop.effects()[2] == late[2], "the others are none of its business"
    assert ups.command(shop.directory, "up", "--drain").returncode == 1
    assert replay(shop, "--yes").returncode == 0
    assert shop.effects() == done
    (first, second) = audit(valkey, shop)
    assert (first["what"], first["processor"], first["partition"]) == ("retry", "bill", "1")
    assert (first["key"], first["reason"]) == (USERS[1], "the bug is fixed")
    assert "@" in first["who"]
    assert (second["partition"], second["reason"]) == ("0", "")


def test_a_replay_that_fails_again_says_so(shop: Shop, start_up: Callable[..., Up]) -> None:
    shop.send(shop.orders(range(20), bad=[4, 12]))
    start_up(shop.directory).wait_ready()
    wait_until(lambda: len(shop.blocked()) == 1)
    ended = replay(shop, "--yes")
    assert ended.returncode == 1
    assert "blocked again" in ended.stderr
    assert "bad order 4" in ended.stderr
    ended = replay(shop, "--yes", "--skip")
    assert ended.returncode == 1, ended.stderr
    assert "bad order 12" in ended.stderr, "it goes on to the next bad one"
    assert shop.effects()[0] == [0, 8]


def test_a_replay_that_fails_again_without_an_up_exits_1(shop: Shop) -> None:
    shop.send(shop.orders(range(20), bad=[4]))
    drained_but(shop, 1)
    ended = replay(shop, "--yes")
    assert ended.returncode == 1
    assert "bad order 4" in ended.stderr
    assert len(shop.blocked()) == 1


def test_skip_moves_the_event_to_the_dead_letters_and_goes_on(shop: Shop, valkey: Server) -> None:
    ids = shop.send(shop.orders(range(20), bad=[4]))
    drained_but(shop, 1)
    ended = replay(shop, "bill", "--skip", "--yes", "--reason", "a test order")
    assert ended.returncode == 0, ended.stderr
    assert shop.effects() == in_order(range(20), without=[4])
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        ((_, dead),) = client.xrange(keys.events(shop.name, "orders.dead", 0))
    assert json.loads(dead["data"]) == {"user": USERS[0], "n": 4, "bad": True}
    assert dead["key"] == USERS[0]
    headers = {name[7:]: value for name, value in dead.items() if name.startswith("h:dead-")}
    assert (headers["event"], headers["type"], headers["message"]) == (ids[4], "ValueError", "bad order 4")
    assert (headers["stream"], headers["partition"], headers["reason"]) == ("orders", "0", "a test order")
    assert [line["what"] for line in audit(valkey, shop)] == ["skip"]


def test_an_edited_record_is_handled_in_its_place(shop: Shop, valkey: Server) -> None:
    shop.send(shop.orders(range(20), bad=[4]))
    drained_but(shop, 1)
    mend = editor(shop, 'text = text.replace("\\"n\\": 4", "\\"n\\": 4000").replace("true", "false")')
    ended = replay(shop, "--edit", "--yes", EDITOR=mend)
    assert ended.returncode == 0, ended.stderr
    assert shop.effects()[0] == [0, 4000, 8, 12, 16]
    (line,) = audit(valkey, shop)
    assert json.loads(line["old"])["bad"] is True
    assert json.loads(line["new"])["bad"] is False


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("pass", 0, "the record is as it was; nothing done"),
        ('text = text.replace("true", "treu")', 1, "not JSON: line 4, column 10"),
        ('text = text.replace("\\"user\\": \\"", "\\"user\\": \\"x")', 1, "the key must stay"),
        ('text = text.replace("\\"n\\": 4", "\\"n\\": \\"4\\"")', 1, "is not of type"),
        ("sys.exit(3)", 1, "ended with code 3"),
    ],
)
def test_an_edit_that_is_none_or_wrong_changes_nothing(shop: Shop, code: str, exit_code: int, said: str) -> None:
    shop.send(shop.orders(range(20), bad=[4]))
    drained_but(shop, 1)
    ended = replay(shop, "--edit", "--yes", EDITOR=editor(shop, code))
    assert ended.returncode == exit_code
    assert said in ended.stderr
    assert len(shop.blocked()) == 1


def test_key_selects_what_failed_with_it(shop: Shop) -> None:
    shop.send(shop.orders(range(20), bad=[4, 5]))
    drained_but(shop, 2)
    shop.mend()
    ended = replay(shop, "--key", USERS[1], "--yes")
    assert ended.returncode == 0, ended.stderr
    assert [each["partition"] for each in shop.blocked()] == [0]
    ended = replay(shop, "--key", "nobody", "--yes")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "nothing" in ended.stderr


def test_a_halted_processor_goes_on_after_a_replay_or_another_up(tmp_path: Path, valkey: Server, app_name: str) -> None:
    shop = Shop(tmp_path, app_name, valkey.url, policy="HALT")
    shop.send(shop.orders(range(40), bad=[4, 12]))
    ended = ups.command(shop.directory, "up")
    assert ended.returncode == 4, ended.stderr
    assert shop.blocked()[0]["state"] == "halted"
    again = ups.command(shop.directory, "up")
    assert again.returncode == 4, "starting again is a retry, and it fails again"
    assert replay(shop, "--yes").returncode == 4
    shop.mend()
    ended = replay(shop, "--yes")
    assert ended.returncode == 0, ended.stderr
    assert shop.effects() == in_order(range(40)), "all that the halt stopped goes on"
    assert shop.blocked() == []


def test_a_halted_processor_goes_on_in_the_up_that_runs_the_others(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    shop = Shop(tmp_path, app_name, valkey.url, policy="HALT", more=SHIP)
    shop.send(shop.orders(range(40), bad=[4]))
    up = start_up(shop.directory).wait_ready()
    wait_until(lambda: shop.effects("ship") == in_order(range(40)))
    wait_until(lambda: [each["state"] for each in shop.blocked()] == ["halted"])
    ended = replay(shop, "bill", "--yes")
    assert ended.returncode == 4
    assert "bad order 4" in ended.stderr
    shop.mend()
    ended = replay(shop, "bill", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert shop.effects() == in_order(range(40))
    assert up.process.poll() is None


def test_an_event_that_kills_its_process_is_replayed_like_any_other(shop: Shop, start_up: Callable[..., Up]) -> None:
    shop.send(shop.orders(range(40), bad=[4], flag="fatal"))
    start_up(shop.directory).wait_ready()
    wait_until(lambda: len(shop.blocked()) == 1)
    assert shop.blocked()[0]["error"]["type"] == "ProcessDied"
    shop.mend()
    ended = replay(shop, "--yes")
    assert ended.returncode == 0, ended.stderr
    assert {partition: sorted(set(numbers)) for partition, numbers in shop.effects().items()} == in_order(range(40))
    first_zero = list(dict.fromkeys(shop.effects()[0]))
    assert first_zero == in_order(range(40))[0]


def test_a_crash_loop_ends_with_a_replay_in_the_same_up(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    shop = Shop(tmp_path, app_name, valkey.url, handler="Moody", more=SHIP)
    up = start_up(shop.directory).wait_ready()
    (shop.directory / "moody").touch()
    wait_until(shop.blocked, timeout_s=90)
    (halted,) = shop.blocked()
    assert (halted["partition"], halted["state"], halted["error"]["type"]) == (None, "halted", "CrashLoop")
    shop.send(shop.orders(range(20)))
    (shop.directory / "moody").unlink()
    ended = replay(shop, "--yes")
    assert ended.returncode == 0, ended.stderr
    assert shop.effects() == in_order(range(20))
    assert up.process.poll() is None


def test_the_listing_has_everything_that_is_needed_to_decide(shop: Shop) -> None:
    ids = shop.send(shop.orders(range(20), bad=[4]))
    drained_but(shop, 1)
    brief = replay(shop, "--dry-run").stdout
    for part in ("bill:0", "quarantined", ids[4], repr(USERS[0]), "3 events wait", "ValueError: bad order 4"):
        assert part in brief
    assert "Traceback" not in brief
    full = replay(shop, "--dry-run", "-v").stdout
    assert "Traceback" in full
    assert '"bad":true' in full
    listed = json.loads(replay(shop, "--dry-run", "--json").stdout)
    (error,) = [each["error"] for each in listed["blocked"]]
    wanted = {"event", "key", "payload", "type", "message", "traceback", "attempts", "processor", "epoch", "host"}
    assert wanted | {"pid", "time"} <= error.keys()


def test_trimmed_events_are_lost_and_a_replay_accepts_that(
    shop: Shop, valkey: Server, start_up: Callable[..., Up]
) -> None:
    ids = shop.send(shop.orders(range(40), bad=[4]))
    drained_but(shop, 1)
    with redis.Redis.from_url(valkey.url) as client:
        client.xtrim(keys.events(shop.name, "orders", 0), minid=ids[12], approximate=False)
    shop.mend()
    ended = replay(shop, "--yes")
    assert ended.returncode == 1
    (trimmed,) = shop.blocked()
    assert (trimmed["lost"], trimmed["error"]["kind"]) == (2, "trimmed")
    ended = replay(shop, "--yes", "--skip")
    assert ended.returncode == 1
    assert "has no failed event to skip" in ended.stderr
    ended = replay(shop, "--yes")
    assert ended.returncode == 0, ended.stderr
    assert "without the 2 lost event(s)" in ended.stderr
    assert shop.effects() == in_order(range(40), without=[4, 8])


def test_it_asks_on_a_terminal_and_needs_yes_elsewhere(shop: Shop) -> None:
    shop.send(shop.orders(range(20), bad=[4]))
    drained_but(shop, 1)
    refused = replay(shop)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert "bill:0 is quarantined" in refused.stdout
    code, shown = on_a_terminal(shop, b"n\n", "replay")
    assert code == 1
    assert "retry 1 blocked partition? [y/N]" in shown
    assert len(shop.blocked()) == 1
    shop.mend()
    code, shown = on_a_terminal(shop, b"y\n", "replay")
    assert code == 0, shown
    assert shop.effects() == in_order(range(20))


def on_a_terminal(shop: Shop, typed: bytes, *arguments: str) -> tuple[int, str]:
    """Run a command on a pseudo-terminal; returns its exit code and what it showed."""
    terminal, inside = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "runnelctl", *arguments],
        cwd=shop.directory, env=ups.environment(TERM="xterm"), stdin=inside, stdout=inside, stderr=inside,
    )  # fmt: skip
    os.close(inside)
    os.write(terminal, typed)
    shown = b""
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:  # how Linux ends a pseudo-terminal
        pass
    os.close(terminal)
    return process.wait(60), shown.decode()


def test_nothing_blocked_is_no_error_and_a_wrong_name_is_one(shop: Shop) -> None:
    ended = replay(shop)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "blocked" in ended.stderr
    for target, hint in (("bil", "did you mean 'bill'?"), ("bill:4", "0 to 3"), ("bill:x", "0 to 3")):
        ended = replay(shop, target)
        assert ended.returncode == 2
        assert hint in ended.stderr
