"""Every point of the chaos verdict must be able to fail: a good history, and what each kind of damage is called."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from runnelctl.core.model import Partitioner
from runnelctl.core.routing import partition_of
from tests.chaos import checker, history, judge, moves, nemeses, observer, points, soak
from tests.chaos.history import Change, Effect, History, Id, Sent, Taken
from tests.chaos.relay import chain

MS = 1_000_000
A, B = 7_001, 7_002  # pids
KEY, OTHER = "k0", "k2"
P = partition_of(KEY, 16, Partitioner.CRC32)
UNITS = (("sink", P), ("echo", 0))


def event_id(number: int) -> Id:
    return (1_000 + number, 0)


def effect(number: int, *, pid: int = A, epoch: int = 1, processor: str = "sink", at: int | None = None) -> Effect:
    start = (number * 10 if at is None else at) * MS
    partition = P if processor == "sink" else 0
    return Effect(processor, "h0", pid, epoch, partition, event_id(number), KEY, number, start, start + 2 * MS)


def good(count: int = 6) -> History:
    """`count` events of one key, handled by process A, by B from the third on, with one repeat at the change."""
    of = History()
    links = 0
    for number in range(count):
        event = event_id(number)
        of.sent[KEY, number] = Sent([event], 1)
        of.taken["events"][P].append(Taken(event, KEY, number))
        of.taken["echoes"][0].append(Taken(event, KEY, number, of=event))
        links = chain(links, f"{event[0]}-{event[1]}")
    of.states[KEY] = {"n": count, "chain": links}
    of.effects = [effect(0), effect(1), effect(2)]
    of.effects += [effect(number, pid=B, epoch=2, at=100 + number * 10) for number in range(2, count)]
    of.effects += [effect(number, processor="echo", at=200 + number * 10) for number in range(count)]
    for processor, partition in UNITS:
        of.own[processor, partition] = {
            "cursor": f"{event_id(count - 1)[0]}-0", "count": str(count), "owner": "", "nonce": "", "block": None,
        }  # fmt: skip
    unit = ("sink", P)
    of.changes = [
        Change("a", unit, 1, "70", 0, "", "0-0", 0, 0),
        Change("c", unit, 1, "70", 1, "0-0", "1001-0", 2, 25 * MS),
        Change("r", unit, 1, "70", 0, "", "", 0, 30 * MS),
        Change("a", unit, 2, "71", 0, "", "1001-0", 0, 90 * MS),
        Change("c", unit, 2, "71", 1, "1001-0", "1003-0", 2, 140 * MS),
        Change("c", unit, 2, "71", 2, "1003-0", "1005-0", 2, 160 * MS),
        Change("r", unit, 2, "71", 0, "", "", 0, 170 * MS),
    ]
    of.actions = [{"nemesis": "kill-slice", "at": 25 * MS, "end": 25 * MS, "pids": [A], "killed": [A]}]
    of.facts = {
        "settled": {"left": [], "producers": [0, 0]},
        "stopped": {"stuck": [], "orphans": [], "secret_in": []},
    }
    return of


def test_a_good_history_breaks_nothing() -> None:
    assert judge.judge(good()) == {}
    assert judge.figures(good())["repeats"] == 1


def drop_entry(of: History) -> None:
    of.taken["events"][P].pop(3)


def drop_effect(of: History) -> None:
    of.effects.remove(effect(3, pid=B, epoch=2, at=130))


def drop_second_stage(of: History) -> None:
    of.effects = [each for each in of.effects if (each.processor, each.seq) != ("echo", 4)]


def invent_effect(of: History) -> None:
    of.effects.append(effect(99, pid=B, epoch=2, at=999))


def other_event_under_an_id(of: History) -> None:
    of.effects[-1] = of.effects[-1]._replace(seq=55)


def store_twice(of: History) -> None:
    of.taken["events"][P].append(Taken((9_000, 0), KEY, 2))


def store_what_was_refused(of: History) -> None:
    of.sent[OTHER, 0] = Sent([], attempts=1, refused=1)
    of.taken["events"][0].append(Taken((9_000, 0), OTHER, 0))


def bury_the_innocent(of: History) -> None:
    of.dead.append({"processor": "sink", "partition": str(P), "event": "1003-0"})


def bury_twice(of: History) -> None:
    of.taken["events"][P][3] = Taken(event_id(3), KEY, 3, do="raise")
    of.dead += [{"processor": "sink", "partition": str(P), "event": "1003-0"}] * 2


def handle_what_is_broken(of: History) -> None:
    of.taken["events"][P][3] = Taken(event_id(3), "", -1, raw=True)


def swap_first_effects(of: History) -> None:
    of.effects[4], of.effects[5] = of.effects[5], of.effects[4]


def store_in_another_order(of: History) -> None:
    of.sent[KEY, 4], of.sent[KEY, 3] = of.sent[KEY, 3], of.sent[KEY, 4]


def twice_in_one_epoch(of: History) -> None:
    of.effects.insert(5, of.effects[4])


def repeat_in_the_middle(of: History) -> None:
    of.effects.insert(6, effect(1, pid=B, epoch=2, at=155))


def repeat_too_many(of: History) -> None:
    of.commit_events = 0


def repeat_for_no_reason(of: History) -> None:
    of.actions.clear()


def count_twice(of: History) -> None:
    of.states[KEY]["n"] += 1


def count_in_another_order(of: History) -> None:
    of.states[KEY]["chain"] ^= 1


def state_out_of_nothing(of: History) -> None:
    of.states["k9"] = {"n": 1, "chain": 5}


def emit_twice(of: History) -> None:
    of.taken["echoes"][0].append(Taken((9_000, 0), KEY, 5, of=event_id(5)))


def emit_nothing(of: History) -> None:
    of.taken["echoes"][0].pop(2)


def emit_in_another_order(of: History) -> None:
    entries = of.taken["echoes"][0]
    entries[1], entries[2] = entries[2]._replace(id=entries[1].id), entries[1]._replace(id=entries[2].id)


def two_processes_of_an_epoch(of: History) -> None:
    of.effects[4] = of.effects[4]._replace(pid=A)


def old_epoch_after_new(of: History) -> None:
    of.effects[5] = of.effects[5]._replace(epoch=1, pid=A)


def change(of: History, number: int, **fields: object) -> None:
    of.changes[number] = of.changes[number]._replace(**fields)  # type: ignore[arg-type]


def commit_of_a_zombie(of: History) -> None:
    of.changes.insert(5, Change("c", ("sink", P), 1, "70", 2, "1001-0", "1002-0", 1, 150 * MS))


def another_nonce_in_an_epoch(of: History) -> None:
    of.changes.insert(5, Change("a", ("sink", P), 2, "72", 0, "", "1003-0", 0, 150 * MS))


def lower_epoch(of: History) -> None:
    of.changes += [Change("a", ("sink", P), 1, "70", 0, "", "1005-0", 0, 200 * MS)]


def skip_a_commit(of: History) -> None:
    change(of, 5, seq=3)


def stale_cursor(of: History) -> None:
    change(of, 5, expected="1002-0")


def cursor_back(of: History) -> None:
    change(of, 5, cursor="1002-0")


def commit_after_release(of: History) -> None:
    of.changes.append(Change("c", ("sink", P), 2, "71", 3, "1005-0", "1006-0", 1, 180 * MS))


def cut(of: History, begin: int, end: int) -> None:
    of.actions.append({"nemesis": "failover", "at": begin * MS, "cut": begin * MS, "end": end * MS})


def lose_what_was_old(of: History) -> None:
    """A failover long after an event was acknowledged does not explain that it is gone."""
    of.sent[KEY, 3].acked_at = [30 * MS]
    cut(of, 60_000, 60_500)
    drop_entry(of)


def pass_over_what_was_removed(of: History) -> None:
    of.actions.append({"nemesis": "xdel", "at": 1, "end": 2, "partition": P, "passed": ["1003-0"]})


def say_too_little(of: History) -> None:
    of.actions.append({"nemesis": "trim", "at": 1, "end": 2, "partition": P, "said": 1, "lost": ["1003-0", "1004-0"]})


def cry_wolf(of: History) -> None:
    of.alarms.append("up.h0.out: sink:3: Redis went back in time")


def stay_full(of: History) -> None:
    of.actions.append({"nemesis": "full", "at": 1, "end": 2, "undrained": ["sink:3 has 17"]})


def start_where_keys_are_evicted(of: History) -> None:
    of.actions.append({"nemesis": "eviction", "at": 1, "end": 2, "started": True})


def fail_the_operator(of: History) -> None:
    of.actions.append({"nemesis": "trim", "at": 1, "end": 2, "operator": ["replay", 1], "operator_done": False})


def miscount(of: History) -> None:
    of.own["sink", P]["count"] = "5"


def stop_short(of: History) -> None:
    of.own["sink", P] |= {"count": "5", "cursor": "1004-0"}


def stay_owned(of: History) -> None:
    of.own["sink", P]["owner"] = "h0:1:x/0"


def stay_blocked(of: History) -> None:
    of.own["sink", P]["block"] = "{}"


def two_at_a_time(of: History) -> None:
    of.effects[2] = of.effects[2]._replace(start=119 * MS, end=121 * MS)


def never_recover(of: History) -> None:
    """B begins a minute later."""
    of.effects = [
        each._replace(start=each.start + 60_000 * MS, end=each.end + 60_000 * MS) if each.pid == B else each
        for each in of.effects
    ]


def leave_a_child(of: History) -> None:
    of.actions[0]["outlived"] = [5]


def end_unasked(of: History) -> None:
    of.hosts.append({"what": "end", "host": "h1", "pid": 4, "code": 70, "asked": False, "fair": False})


def never_end(of: History) -> None:
    del of.facts["stopped"]


def leave_work(of: History) -> None:
    of.facts["settled"]["left"] = ["sink:3 has 17"]


def leave_orphans(of: History) -> None:
    of.facts["stopped"]["orphans"] = ["17 sink.0"]


def samples(of: History, fds: Iterable[int], rss: Iterable[int]) -> None:
    for number, (open_files, size) in enumerate(zip(fds, rss, strict=True)):
        at = number * 2_000 * MS
        of.samples.append({"at": at, "host": "h0", "pid": 4, "kind": "keeper", "fds": open_files, "rss": size})


def leak_files(of: History) -> None:
    samples(of, range(10, 70), [50 << 20] * 60)


def leak_memory(of: History) -> None:
    samples(of, [10] * 60, [(50 + 2 * number) << 20 for number in range(60)])


def complain(of: History) -> None:
    of.complaints.append("up.h0.out: this is a defect")


def tell_a_file(of: History) -> None:
    of.leaks.append("up.h0.out")


def tell_redis(of: History) -> None:
    of.facts["stopped"]["secret_in"] = ["appendonly.aof"]


def tell_arguments(of: History) -> None:
    of.samples.append({"at": 0, "host": "h0", "pid": 4, "kind": "keeper", "fds": 1, "rss": 1, "secret": True})


BAD: list[tuple[str, Callable[[History], None]]] = [
    ("loss", drop_entry), ("loss", drop_effect), ("loss", drop_second_stage), ("loss", invent_effect),
    ("loss", other_event_under_an_id), ("loss", store_twice), ("loss", store_what_was_refused),
    ("loss", bury_the_innocent), ("loss", bury_twice), ("loss", handle_what_is_broken),
    ("order", swap_first_effects), ("order", store_in_another_order),
    ("repeats", twice_in_one_epoch), ("repeats", repeat_in_the_middle), ("repeats", repeat_too_many),
    ("repeats", repeat_for_no_reason),
    ("inside", count_twice), ("inside", count_in_another_order), ("inside", state_out_of_nothing),
    ("inside", emit_twice), ("inside", emit_nothing), ("inside", emit_in_another_order),
    ("epochs", two_processes_of_an_epoch), ("epochs", old_epoch_after_new),
    ("fence", commit_of_a_zombie), ("fence", another_nonce_in_an_epoch), ("fence", lower_epoch),
    ("fence", skip_a_commit), ("fence", stale_cursor), ("fence", cursor_back), ("fence", commit_after_release),
    ("loss", lose_what_was_old), ("loss", pass_over_what_was_removed), ("loss", say_too_little), ("loss", cry_wolf),
    ("leftovers", stay_full), ("leftovers", start_where_keys_are_evicted), ("leftovers", fail_the_operator),
    ("counts", miscount), ("counts", stop_short), ("counts", stay_owned), ("counts", stay_blocked),
    ("overlap", two_at_a_time), ("recovery", never_recover),
    ("leftovers", leave_a_child), ("leftovers", end_unasked), ("leftovers", never_end), ("leftovers", leave_work),
    ("leftovers", leave_orphans), ("leftovers", leak_files), ("leftovers", leak_memory), ("leftovers", complain),
    ("secrets", tell_a_file), ("secrets", tell_redis), ("secrets", tell_arguments),
]  # fmt: skip


@pytest.mark.parametrize(("point", "damage"), BAD, ids=lambda each: getattr(each, "__name__", each))
def test_damage_is_found(point: str, damage: Callable[[History], None]) -> None:
    of = good()
    damage(of)
    assert list(points.POINTS[point](of)), f"{point} did not see it"


def test_every_point_has_failed_here() -> None:
    assert {point for point, _ in BAD} == points.POINTS.keys()


def test_a_pause_excuses_one_late_call_and_no_second() -> None:
    of = good()
    of.actions.append({"nemesis": "stop-host", "at": 22 * MS, "end": 150 * MS, "pids": [A], "paused": [A]})
    of.effects[2] = of.effects[2]._replace(end=151 * MS)
    late = of.effects.pop(2)
    of.effects.insert(5, late)
    assert not list(points.epochs(of))
    assert not list(points.overlap(of))
    of.effects.insert(6, effect(1)._replace(start=151 * MS, end=152 * MS))
    assert list(points.epochs(of))
    assert list(points.overlap(of))


def test_a_failover_excuses_what_it_may_have_taken_and_nothing_else() -> None:
    of = good()
    cut(of, 140, 600)
    of.sent[KEY, 5].acked_at = [155 * MS]
    of.taken["events"][P].pop(5)
    assert not list(points._acknowledged(of))
    assert not [said for said in points.loss(of) if "Redis does not hold" in said]
    of.effects.insert(7, effect(4, pid=B, epoch=2, at=700))
    assert not list(points.repeats(of)), "Redis forgot that it had been handled"
    of.effects.insert(8, effect(4, pid=B, epoch=2, at=90_000))
    of.effects.insert(9, effect(5, pid=B, epoch=2, at=90_000)._replace(id=event_id(77)))
    assert [said for said in points.loss(of) if "Redis does not hold" in said]


def test_with_order_key_each_owner_before_may_have_left_as_many_to_repeat() -> None:
    of = History(commit_events=2, at_once=4)
    of.actions.append({"nemesis": "kill-slice", "at": 1, "end": 2})
    of.effects = [effect(number, epoch=1 + number // 2) for number in range(4)]  # two each, of different keys
    of.effects += [effect(number, pid=B, epoch=3, at=100 + number) for number in range(4)]
    assert not list(points.repeats(of))
    of.effects[2] = effect(2, epoch=1)
    assert list(points.repeats(of)), "three of the first owner's"


def test_what_waited_for_a_redis_that_was_away_may_have_been_committed_after_the_cut() -> None:
    of = good()
    cut(of, 9_000, 9_500)
    of.effects.insert(7, effect(4, pid=B, epoch=2, at=10_000))
    assert list(points.repeats(of)), "it was committed long before the cut"
    of.effects.insert(7, effect(4, pid=B, epoch=2, at=8_900))
    assert len(list(points.repeats(of))) == 1, "the later one may come of the cut"
    of.effects.pop(7)
    of.actions.append({"nemesis": "kill-redis", "at": 200 * MS, "end": 8_500 * MS})
    assert not list(points.repeats(of))


def test_what_came_after_something_removed_was_not_committed_and_comes_again() -> None:
    of = good()
    of.effects.insert(7, effect(4, pid=B, epoch=2, at=300))
    assert list(points.repeats(of))
    removal = {"nemesis": "xdel", "at": 130 * MS, "end": 200 * MS, "partition": P, "lost": ["1003-0"]}
    of.actions.append(removal)
    assert not list(points.repeats(of))
    for wrong in ({"partition": P + 1}, {"lost": ["1005-0"]}, {"at": 301 * MS}, {"end": 139 * MS}, {"lost": []}):
        of.actions[-1] = removal | wrong
        assert list(points.repeats(of)), wrong


def test_what_a_stranger_removed_needs_no_effect_and_has_no_trace_inside() -> None:
    of = good()
    of.actions.append({"nemesis": "trim", "at": 1, "end": 2, "partition": P, "said": 1, "lost": ["1003-0"]})
    drop_effect(of)
    assert not [said for said in points.loss(of) if "neither handled" in said]
    assert list(points.inside(of)), "its state counts the event all the same"


def test_keys_run_side_by_side_with_order_key() -> None:
    of = good()
    of.effects[4:4] = [each := effect(9, pid=B, epoch=2, at=115)._replace(key=OTHER)]
    of.taken["events"][P].append(Taken(each.id, OTHER, 9))
    assert list(points.order(of))
    of.at_once = 4
    assert not list(points.order(of))
    of.effects[5], of.effects[6] = of.effects[6], of.effects[5]
    assert list(points.order(of))


def test_what_was_done_out_of_turn_and_then_removed_has_all_of_its_traces_or_none() -> None:
    of = good()
    of.actions.append({"nemesis": "trim", "at": 1, "end": 2, "partition": P, "said": 1, "lost": ["1005-0"]})
    assert list(points.inside(of)), "with order: partition nothing behind the cursor is done"
    of.at_once = 4
    assert not list(points.inside(of))
    of.states[KEY]["n"] -= 1
    assert list(points.inside(of))


OWN = b'"{chaos:events:3}:own:sink"'
MONITOR = (
    b'+1.2 [0 unix:/s] "EVALSHA" "1b" "2" ' + OWN + b' "{chaos:events:3}:events" "17" "5" "1" "0-0" "9-0" "1" "sink"',
    b'+1.3 [0 lua] "HMGET" ' + OWN + b' "epoch"',
    b'+1.4 [0 lua] "HSET" ' + OWN + b' "cursor" "9-0" "count" "1" "seq" "1"',
    b'+1.5 [0 lua] "HSET" ' + OWN + b' "nonce" "" "owner" ""',
    rb'+1.6 [0 unix:/s] "EVAL" "#!lua\n \"x\" " "2" ' + OWN + b' "{chaos:events:3}:events" "6" "a/0"',
    b'+1.7 [0 lua] "HSET" ' + OWN + b' "epoch" "18" "nonce" "6" "owner" "a/0" "cursor" "9-0" "count" "1"',
)


def test_what_redis_lets_pass_is_read_from_monitor() -> None:
    watch = observer.Watch()
    said = [line for each in MONITOR if (line := watch.line(each, 44)) is not None]
    assert said == ["c sink 3 17 5 1 0-0 9-0 1 44\n", "r sink 3 17 5 44\n", "a sink 3 18 6 9-0 1 44 a/0\n"]
    unit = ("sink", 3)
    assert [history._change(line.split()) for line in said] == [
        Change("c", unit, 17, "5", 1, "0-0", "9-0", 1, 44),
        Change("r", unit, 17, "5", 0, "", "", 0, 44),
        Change("a", unit, 18, "6", 0, "", "9-0", 0, 44, "a/0"),
    ]


BEFORE = {("sink", number): f"h{number % 2}" for number in range(6)}


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (["0 s1", "1 s1", "0 h1", "1 s2", "1 h0"], ""),
        (["0 s1", "0 h1", "0 h0"], "sink:0 moved from h1 to h0, which both stayed"),
        (["0 -", "0 h1"], "sink:0 moved from h0 to h1, which both stayed"),
        (["1 s1", "0 -", "1 -", "0 h1", "1 h1"], ""),
        (["1 s1", "0 -", "1 h1", "0 h1"], ""),
        (["1 s1", "1 -", "0 -", "0 h1"], "sink:0 moved from h0 to h1, which both stayed"),
        (["0 s1", "1 s1", "2 s1"], "s1 had 3 partitions of sink, its share is 2"),
        (["0 s1", "1 s1", "1 -", "1 s2", "2 s1"], ""),
        (["0 s1", "1 s1", "1 -", "1 s1", "2 s1"], "s1 had 3 partitions of sink, its share is 2"),
    ],
)
def test_what_moves_without_need_is_seen(taken: list[str], said: str) -> None:
    words = [each.split() for each in taken]
    moved = [(("sink", int(number)), host.strip("-")) for number, host in words]
    assert moves.needless(moved, BEFORE, 2) == ([said] if said else [])


def test_a_soak_is_the_sum_of_its_runs(tmp_path: Path) -> None:
    one = {"options": {"minutes": 1, "server": "redis"}, "violations": {}, **judge.figures(good())}
    (tmp_path / "1.json").write_text(json.dumps(one))
    (tmp_path / "2.json").write_text(json.dumps({**one, "violations": {"loss": ["gone"]}}))
    total = soak.merged(tmp_path)
    assert (total["runs"], total["injections"], total["broken"]) == (2, 2, ["2"])
    assert total["events"] == 2 * judge.figures(good())["distinct_effects"]
    assert total["recovery_ms"]["kill-slice"]["n"] == 2
    assert "BROKEN 1" in soak.table(total)


def test_a_send_of_unknown_outcome_may_leave_a_copy() -> None:
    of = good()
    of.sent[KEY, 2].attempts += 1
    store_twice(of)
    assert not list(points._copies(of))
    of.taken["events"][P].append(Taken((9_001, 0), KEY, 2))
    assert list(points._copies(of))


def test_recovery_is_measured_where_the_process_worked_and_nothing_else_broke() -> None:
    of = good()
    assert points.recovered(of) == {"kill-slice": [95 * MS]}
    last = next(effect for effect in of.effects if effect.pid == A)
    of.effects.append(last._replace(start=26 * MS, end=27 * MS))
    assert points.recovered(of) == {"kill-slice": [95 * MS]}, "a last call of the one that was killed is none"
    of.actions.append({"nemesis": "stop-redis", "at": 60 * MS, "end": 70 * MS})
    assert "kill-slice" not in points.recovered(of)


def test_a_directory_reads_as_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "options.json").write_text('{"ttl_ms": 2000, "commit_events": 50, "partitions": 16}')
    (tmp_path / "effects").write_text(f"sink h0 {B} 2 {P} 1000-0 k0 0 6 6\nsink h0 {A} 1 {P} 1000-0 k0 0 5 7\n")
    (tmp_path / "intents.0").write_text(
        "i k0 0 1 \na k0 0 1000-0 2\ni k0 1 3 raise\nu k0 1 4\ni k0 1 5 raise\nr k0 1 6\n"
    )
    (tmp_path / "taken.jsonl").write_text(
        '{"stream": "events", "partition": 3, "id": "1000-0", "key": "k0", "seq": 0}\n'
        '{"stream": "events", "partition": 3, "id": "1001-0", "raw": "{}"}\n'
    )
    (tmp_path / "up.h0.out").write_text("the secret word\nthis is a defect\n")
    of = history.read(tmp_path, "secret")
    assert of.effects == [
        Effect("sink", "h0", A, 1, P, (1_000, 0), "k0", 0, 5, 7),
        Effect("sink", "h0", B, 2, P, (1_000, 0), "k0", 0, 6, 6),
    ]
    assert of.sent["k0", 0].acked == [(1_000, 0)]
    assert (of.sent["k0", 0].doubtful, of.sent["k0", 1].doubtful) == (0, 1)
    assert [entry.raw for entry in of.taken["events"][3]] == [False, True]
    assert of.leaks == ["up.h0.out"]
    assert len(of.complaints) == 1


def test_a_schedule_is_the_seeds_and_leaves_nobody_out() -> None:
    names = list(nemeses.ALL)
    planned = nemeses.schedule(7, 120, names, 2.0)
    assert planned == nemeses.schedule(7, 120, names, 2.0)
    assert planned != nemeses.schedule(8, 120, names, 2.0)
    assert {name for _, name, _ in planned} == set(names)
    assert [at for at, _, _ in planned] == sorted(at for at, _, _ in planned)


def line(seq: int, *, epoch: int = 1, key: str = "k", pid: int = A) -> checker.Effect:
    return checker.Effect(pid, epoch, 3, key, seq, 0)


@pytest.mark.parametrize(
    ("effects", "said"),
    [
        ([line(0), line(2)], "first effect of 2 where 1 was due"),
        ([line(0), line(1)], "1 event(s) without an effect"),
        ([line(0), line(1), line(1), line(2)], "handled twice under one epoch"),
        ([line(0, epoch=2), line(1, epoch=1), line(2, epoch=2)], "after epoch 2"),
        ([line(0), line(1), line(2, epoch=2), line(1, epoch=2)], "a repeat after fresh events"),
        ([line(0), line(1), line(0, epoch=2), line(1, epoch=2), line(2, epoch=2)], "the bound is 1"),
    ],
)
def test_the_small_checker_finds_it_too(effects: list[checker.Effect], said: str) -> None:
    verdict = checker.judge(effects, {"k": 3}, repeat_bound=1)
    assert any(said in sentence for sentence in verdict.violations), verdict.violations


def test_the_small_checker_lets_a_good_run_pass() -> None:
    effects = [line(0), line(1), line(1, epoch=2), line(2, epoch=2)]
    assert checker.judge(effects, {"k": 3}, repeat_bound=1).violations == []
