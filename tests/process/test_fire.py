"""Real hosts under fire. The handlers' own file is the judge: see tests/chaos/checker.py."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from runnelctl.core import routing
from runnelctl.core.model import Partitioner
from runnelctl.store import connect
from runnelctl.store.reach import reach
from tests.chaos import checker
from tests.chaos.fire import Fire, Plan, burn, wait_for
from tests.servers import Server

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

MakeFire = Callable[..., Fire]


@pytest.fixture
def make_fire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeFire]:
    """A fire in a directory of its own; its hosts are gone after the test."""
    monkeypatch.setenv("RUNNELCTL_DIR", str(tmp_path))
    fires: list[Fire] = []

    def make(redis: str = "embedded", **plan: Any) -> Fire:
        fires.append(Fire(Plan(**plan), redis, tmp_path))
        return fires[-1]

    yield make
    for fire in fires:
        fire.stop_all()


def owners(client: Any, partitions: int = 16) -> Counter[str]:
    """pid of the owning host -> how many partitions it has; "-" for those that nobody has."""
    found = [client.hget(f"{{fire:events:{p}}}:own:sink", "owner") or b"" for p in range(partitions)]
    return Counter(owner.decode().split(":")[1] if owner else "-" for owner in found)


@pytest.mark.parametrize("handler", ["effect", "effect_sync", "effect_iterator"])
def test_nothing_is_lost_or_reordered_under_kills_and_pauses(make_fire: MakeFire, handler: str) -> None:
    fire = make_fire(events=12_000, handler=handler, slice_kills=5)
    assert burn(fire) == 0, fire.output.read_text()
    verdict = fire.verdict()
    assert not verdict.violations, f"{verdict.violations}\n{fire.actions}\n{fire.output.read_text()}"
    assert verdict.distinct == fire.plan.events
    assert fire.counted() == fire.plan.events, "ctx.state counts every event exactly once"
    assert len(fire.actions) >= 8
    said = fire.output.read_text()
    assert "was killed by SIGKILL" in said
    assert "the keeper was killed by SIGKILL; starting another" in said
    assert "stopped: killing it" in said


@pytest.mark.parametrize("handler", ["effect", "effect_sync"])
def test_keys_side_by_side_under_kills_and_pauses(make_fire: MakeFire, handler: str) -> None:
    extra = "    order: key\n    concurrency: 8"
    fire = make_fire(events=12_000, handler=handler, slice_kills=5, sleep_s=0.002, extra=extra)
    assert burn(fire) == 0, fire.output.read_text()
    verdict = fire.verdict(by_key=True)
    assert not verdict.violations, f"{verdict.violations}\n{fire.actions}\n{fire.output.read_text()}"
    assert verdict.distinct == fire.plan.events
    assert fire.counted() == fire.plan.events, "ctx.state counts every event exactly once"
    assert len(fire.actions) >= 8


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_full_size(make_fire: MakeFire) -> None:
    fire = make_fire(events=200_000, keys=1_000, slice_kills=20, keeper_kills=2)
    assert burn(fire) == 0
    verdict = fire.verdict()
    assert not verdict.violations
    assert verdict.distinct == fire.counted() == 200_000


def test_two_hosts_share_hand_over_and_take_over(make_fire: MakeFire) -> None:
    fire = make_fire(events=12_000, slices=2, sleep_s=0.008)
    with reach("embedded", "fire") as reached, closing(connect.client(reached.endpoint)) as client:
        fire.send(fire.records())
        first = fire.up()
        wait_for(lambda: owners(client) == {str(first.pid): 16}, "the first host to own everything")
        second = fire.up()
        halves = {str(first.pid): 8, str(second.pid): 8}
        wait_for(lambda: owners(client) == halves, "both to share")
        before = fire.handled()
        wait_for(lambda: fire.handled() >= min(before + 500, fire.plan.events), "work to go on")
        second.terminate()
        assert second.wait(20) == 0
        wait_for(lambda: owners(client) == {str(first.pid): 16}, "the first to have what the second let go")
        assert not [line for line in checker.read(fire.log) if line.epoch == 0]
        third = fire.up()
        wait_for(lambda: owners(client) == {str(first.pid): 8, str(third.pid): 8}, "the third to have its share")
        no_death_so_far = fire.verdict(missing_ok=()).repeats
        assert no_death_so_far == 0, "a planned hand-over repeats nothing"
        first.kill()
        first.wait()
        wait_for(lambda: owners(client) == {str(third.pid): 16}, "the third to take over from the dead")
        wait_for(lambda: fire.handled() >= fire.plan.events, "the end", 120)
        third.terminate()
        assert third.wait(20) == 0
    assert fire.up("--drain").wait(60) == 0
    verdict = fire.verdict()
    assert not verdict.violations
    assert fire.counted() == fire.plan.events


def test_a_paused_host_is_fenced_and_joins_again(make_fire: MakeFire) -> None:
    fire = make_fire(events=12_000, slices=2, sleep_s=0.012)
    with reach("embedded", "fire") as reached, closing(connect.client(reached.endpoint)) as client:
        fire.send(fire.records())
        first, second = fire.up(), fire.up()
        halves = {str(first.pid): 8, str(second.pid): 8}
        wait_for(lambda: owners(client) == halves and fire.handled() > 500, "both to work")
        frozen = [first.pid, *(child.pid for child in psutil.Process(first.pid).children())]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: owners(client) == {str(second.pid): 16}, "the second to take over")
        for pid in reversed(frozen):  # its supervisor last: it kills what it finds stopped
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: "FENCED" in fire.output.read_text(), "a late commit to be refused")
        wait_for(lambda: owners(client) == halves, "the first to join again")
        wait_for(lambda: fire.handled() >= fire.plan.events, "the end", 120)
        for up in (first, second):
            up.terminate()
            assert up.wait(20) == 0
    assert fire.up("--drain").wait(60) == 0
    verdict = fire.verdict(pauses=1)
    assert not verdict.violations
    assert fire.counted() == fire.plan.events, "what was refused left no trace in Redis"


@pytest.mark.parametrize("how", ["kill", "pause", "stop"])
def test_redis_goes_away_and_nobody_exits(make_fire: MakeFire, valkey_own: Server, how: str) -> None:
    fire = make_fire(valkey_own.url, events=8_000, slices=2, sleep_s=0.003)
    fire.send(fire.records())
    ups = [fire.up(), fire.up()]
    wait_for(lambda: fire.handled() > 1_000, "work to begin")
    {"kill": valkey_own.kill, "pause": valkey_own.pause, "stop": valkey_own.stop}[how]()
    if how == "pause":
        # Until the slices have noticed, which takes them a ttl.
        wait_for(lambda: "no answer from" in fire.output.read_text(), "the outage to be noticed")
        valkey_own.resume()
    else:
        wait_for(lambda: "trying again until it is back" in fire.output.read_text(), "the outage to be noticed")
        valkey_own.start()
    wait_for(lambda: fire.handled() >= fire.plan.events, "the end", 120)
    assert [up.poll() for up in ups] == [None, None]
    for up in ups:
        up.terminate()
        assert up.wait(20) == 0
    assert fire.up("--drain").wait(60) == 0
    verdict = fire.verdict()
    assert not verdict.violations
    with closing(connect.client(valkey_own.endpoint)) as client:
        assert sum(json.loads(client.get(key))["n"] for key in client.scan_iter("{fire:*:state:*")) == 8_000


KEYS_OF: dict[int, list[str]] = {}
for _number in range(200):
    _partition = routing.partition_of(f"k{_number}", 16, Partitioner.CRC32)
    KEYS_OF.setdefault(_partition, []).append(f"k{_number}")
BAD = {
    (KEYS_OF[0][0], 5): "raise",
    (KEYS_OF[4][0], 5): "raise",
    (KEYS_OF[8][0], 6): "kill",
    (KEYS_OF[12][0], 4): "hang",
}


def blocks(client: Any) -> dict[int, dict[str, Any]]:
    found = {p: client.hget(f"{{fire:events:{p}}}:own:sink", "block") for p in range(16)}
    return {p: json.loads(block) for p, block in found.items() if block}


@pytest.mark.parametrize("handler", ["effect", "effect_sync", "effect_batch"])
def test_quarantine_costs_the_partition_and_replay_brings_the_rest(make_fire: MakeFire, handler: str) -> None:
    extra = "    batch: {size: 20, within: 50ms}" if handler == "effect_batch" else ""
    fire = make_fire(events=6_000, policy="QUARANTINE", timeout="1s", handler=handler, sleep_s=0.0005, extra=extra)
    with reach("embedded", "fire") as reached, closing(connect.client(reached.endpoint)) as client:
        fire.send(fire.records(BAD))
        assert fire.up("--drain").wait(120) == 1, "not everything could be drained"
        found = blocks(client)
        assert set(found) == {0, 4, 8, 12}
        for partition, kind in ((0, "raised"), (4, "raised"), (8, "died"), (12, "died")):
            record = found[partition]
            assert (record["state"], record["kind"], record["attempts"]) == ("quarantined", kind, 3)
            assert (record["key"], json.loads(record["payload"])["seq"]) in BAD
        assert "ValueError: asked to fail" in found[0]["traceback"]
        assert "SIGKILL" in found[8]["message"]
        assert "timeout" in found[12]["message"]
        done = Counter(effect.partition for effect in set(checker.read(fire.log)))
        assert all(done[p] for p in range(16) if p not in found)
        (fire.directory / "mended").touch()
        fire.run("replay", "--yes")
        wait_for(lambda: not blocks(client), "the blocks to be lifted")
    assert fire.up("--drain").wait(60) == 0
    verdict = fire.verdict()
    assert not verdict.violations
    assert fire.counted() == fire.plan.events


def test_ignore_costs_the_event_and_keeps_it_as_a_dead_letter(make_fire: MakeFire) -> None:
    fire = make_fire(events=6_000, policy="IGNORE", timeout="1s", sleep_s=0.0005, extra="    dead_letter: true")
    with reach("embedded", "fire") as reached, closing(connect.client(reached.endpoint)) as client:
        fire.send(fire.records(BAD))
        assert fire.up("--drain").wait(120) == 0
        verdict = fire.verdict(missing_ok=list(BAD))
        assert not verdict.violations
        assert fire.counted() == fire.plan.events - len(BAD)
        dead = [entry for p in range(16) for entry in client.xrange(f"{{fire:events.dead:{p}}}:events")]
        values = [json.loads(fields[b"data"]) for _, fields in dead]
        assert {(value["key"], value["seq"]): value["do"] for value in values} == BAD
        assert all(fields[b"h:dead-attempts"] == b"3" for _, fields in dead)


def test_halt_stops_the_processor_everywhere(make_fire: MakeFire) -> None:
    fire = make_fire(events=6_000, policy="HALT", sleep_s=0.002)
    with reach("embedded", "fire") as reached, closing(connect.client(reached.endpoint)) as client:
        fire.send(fire.records({(KEYS_OF[0][0], 8): "raise"}))
        ups = [fire.up(), fire.up()]
        assert [up.wait(60) for up in ups] == [4, 4]
        assert client.hkeys("{fire}:halted") == [b"sink"]
        assert fire.handled() < fire.plan.events
        again = fire.up("--drain")
        assert again.wait(60) == 4, "starting it again without a fix halts it again"
        (fire.directory / "mended").touch()
        assert fire.up("--drain").wait(60) == 0
        assert client.hkeys("{fire}:halted") == []
    verdict = fire.verdict()
    assert not verdict.violations
    assert fire.counted() == fire.plan.events
