"""commit.lua on real servers: every answer; a refused commit leaves everything byte by byte as it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import redis

from runnelctl.store import connect
from tests.partition import PROCESSOR, Partition, Word, failed
from tests.servers import Server

BIG = 2**53


@pytest.fixture
def leased(part: Partition) -> tuple[Partition, list[str], str]:
    """Ten events under nonce 7: the partition, their ids, the epoch."""
    ids = part.add(10)
    return part, ids, part.acquire(7, "a/0")[1]


Leased = tuple[Partition, list[str], str]
EFFECTS: list[Word] = [
    "X", 3, 0, 4, "data", "1", "key", "k",
    "X", 3, 0, 2, "data", "2",
    "S", 4, '{"n":9007199254740993}',
    "D", 5,
    "L", 6, 1000, 2, "record", "r",
]  # fmt: skip


def names(part: Partition) -> list[Word]:
    return [part.out, f"{part.tag}:s1", f"{part.tag}:s2", part.failures]


def refused(part: Partition, *args: Any, **more: Any) -> list[str]:
    """The answer of a commit that must not change anything."""
    part.client.set(f"{part.tag}:s2", "old")
    before = part.dump()
    reply = part.commit(*args, names=names(part), effects=EFFECTS, **more)
    assert part.dump() == before
    return reply


def test_what_is_done_above_the_cursor_is_remembered_with_what_it_did(leased: Leased) -> None:
    part, ids, epoch = leased
    done = f"{ids[2]} {ids[4]}"
    effects = [*EFFECTS, "A", 1, done, ids[4]]
    assert part.commit(epoch, 7, 1, "0-0", ids[0], 1, names=names(part), effects=effects) == ["OK"]
    assert (part.hash()["cursor"], part.hash()["above"]) == (ids[0], done)
    assert len(part.outputs()) == 2
    nothing_passed = ["A", 1, f"{ids[2]}", ids[2]]
    assert part.commit(epoch, 7, 2, ids[0], ids[0], 0, effects=nothing_passed) == ["OK"]
    assert part.hash()["above"] == ids[2]
    before = part.dump()
    lost = ["A", 1, "9999999999999-0", "9999999999999-0"]  # a failover took away what was done
    assert part.commit(epoch, 7, 3, ids[0], ids[0], 0, effects=lost) == ["HISTORY"]
    assert part.dump() == before
    assert part.commit(epoch, 7, 3, ids[0], ids[2], 2, effects=["A", 1, "", ""]) == ["OK"]
    assert part.hash()["above"] == ""


def test_a_commit_applies_cursor_count_and_all_effects(leased: Leased) -> None:
    part, ids, epoch = leased
    part.client.set(f"{part.tag}:s2", "old")
    assert part.commit(epoch, 7, 1, "0-0", ids[3], 4, names=names(part), effects=EFFECTS) == ["OK"]
    own = part.hash()
    assert (own["cursor"], own["count"], own["seq"], own["nonce"]) == (ids[3], "4", "1", "7")
    assert part.outputs() == [{"data": "1", "key": "k"}, {"data": "2"}]
    assert part.client.get(f"{part.tag}:s1") == b'{"n":9007199254740993}'
    assert not part.client.exists(f"{part.tag}:s2")
    assert part.outputs(part.failures) == [{"record": "r"}]


def test_the_world_sees_the_true_lag_and_nothing_pending(leased: Leased) -> None:
    part, ids, epoch = leased
    for seq, (before, after) in enumerate([("0-0", 3), (ids[2], 9)], start=1):
        part.commit(epoch, 7, seq, before, ids[after - 1], after - (0 if seq == 1 else 3))
        group = part.group()
        assert (group["lag"], group["pending"], group["consumers"]) == (10 - after, 0, 0)
        assert group["last-delivered-id"].decode() == ids[after - 1]


def test_a_lost_group_is_no_reason_to_refuse(leased: Leased) -> None:
    part, ids, epoch = leased
    part.client.xgroup_destroy(part.events, PROCESSOR)
    assert part.commit(epoch, 7, 1, "0-0", ids[0], 1) == ["OK"]


def test_a_repeated_commit_is_told_so(leased: Leased) -> None:
    part, ids, epoch = leased
    part.commit(epoch, 7, 1, "0-0", ids[3], 4, names=names(part), effects=EFFECTS)
    assert refused(part, epoch, 7, 1, "0-0", ids[3], 4) == ["ALREADY"]


def test_a_repeated_commit_that_released_is_told_so(leased: Leased) -> None:
    """Its reply was lost: that nothing of it was lost must not be called a takeover."""
    part, ids, epoch = leased
    part.commit(epoch, 7, 1, "0-0", ids[3], 4, release=True)
    assert refused(part, epoch, 7, 1, "0-0", ids[3], 4) == ["ALREADY"]
    assert refused(part, epoch, 7, 2, ids[3], ids[4], 1) == ["FENCED", epoch, ""]
    part.acquire(8, "b/0")
    assert refused(part, epoch, 7, 1, "0-0", ids[3], 4)[0] == "FENCED"


def test_another_epoch_is_fenced(leased: Leased) -> None:
    part, ids, epoch = leased
    for wrong in (int(epoch) - 1, int(epoch) + 1, 0, ""):
        assert refused(part, wrong, 7, 1, "0-0", ids[0], 1) == ["FENCED", epoch, "a/0"]


def test_another_nonce_is_fenced(leased: Leased) -> None:
    part, ids, epoch = leased
    for wrong in (8, ""):
        assert refused(part, epoch, wrong, 1, "0-0", ids[0], 1) == ["FENCED", epoch, "a/0"]


def test_who_released_or_was_taken_over_is_fenced(leased: Leased) -> None:
    part, ids, epoch = leased
    part.release(epoch, 7)
    assert refused(part, epoch, 7, 1, "0-0", ids[0], 1) == ["FENCED", epoch, ""]
    newer = part.acquire(8, "b/0")[1]
    assert refused(part, epoch, 7, 1, "0-0", ids[0], 1) == ["FENCED", newer, "b/0"]
    assert refused(part, epoch, 8, 1, "0-0", ids[0], 1) == ["FENCED", newer, "b/0"]
    assert refused(part, newer, 7, 1, "0-0", ids[0], 1) == ["FENCED", newer, "b/0"]


def test_a_partition_that_never_was_fences_everybody(part: Partition) -> None:
    assert refused(part, 1, 7, 1, "0-0", "1-0", 1) == ["FENCED", "", ""]
    assert refused(part, "", "", "", "", "", 1) == ["FENCED", "", ""]


def test_a_gap_in_the_sequence_is_refused(leased: Leased) -> None:
    part, ids, epoch = leased
    assert refused(part, epoch, 7, 2, "0-0", ids[0], 1) == ["CURSOR", "0-0"]
    part.commit(epoch, 7, 1, "0-0", ids[0], 1)
    part.commit(epoch, 7, 2, ids[0], ids[1], 1)
    assert refused(part, epoch, 7, 1, ids[1], ids[2], 1) == ["CURSOR", ids[1]]
    assert refused(part, epoch, 7, 4, ids[1], ids[2], 1) == ["CURSOR", ids[1]]


def test_another_cursor_is_refused(leased: Leased) -> None:
    part, ids, epoch = leased
    part.commit(epoch, 7, 1, "0-0", ids[2], 3)
    for wrong in ("0-0", ids[1], ids[3], ""):
        assert refused(part, epoch, 7, 2, wrong, ids[4], 2) == ["CURSOR", ids[2]]


def test_an_event_that_is_not_in_this_history_is_refused(leased: Leased) -> None:
    part, ids, epoch = leased
    ms, _, seq = ids[3].partition("-")
    assert refused(part, epoch, 7, 1, "0-0", f"{ms}-{int(seq) + 77}", 4) == ["HISTORY"]
    assert refused(part, epoch, 7, 1, "0-0", f"{int(ms) + 10**6}-0", 10) == ["HISTORY"]
    part.client.xdel(part.events, ids[9])
    assert refused(part, epoch, 7, 1, "0-0", ids[9], 10) == ["HISTORY"]
    part.client.delete(part.events)
    assert refused(part, epoch, 7, 1, "0-0", ids[3], 4) == ["HISTORY"]


@pytest.mark.parametrize(("read", "kept", "lost"), [(0, 9, 1), (0, 1, 9), (3, 6, 1), (3, 2, 5), (3, 7, 0), (3, 10, 0)])
def test_what_was_trimmed_unread_is_counted_exactly(leased: Leased, read: int, kept: int, lost: int) -> None:
    part, ids, epoch = leased
    if read:
        part.commit(epoch, 7, 1, "0-0", ids[read - 1], read)
    part.client.xtrim(part.events, maxlen=kept, approximate=False)
    seq, cursor = (2, ids[read - 1]) if read else (1, "0-0")
    args = (epoch, 7, seq, cursor, ids[9], 10 - read)
    if lost:
        assert refused(part, *args) == ["TRIMMED", str(lost)]
    else:
        assert part.commit(*args) == ["OK"]


@pytest.mark.parametrize(("read", "gone", "lost"), [(0, [4], 1), (3, [4, 6, 7], 3), (3, [0, 1], 0), (3, [1, 5], 1)])
def test_what_was_deleted_from_between_is_counted_exactly(
    leased: Leased, read: int, gone: list[int], lost: int
) -> None:
    """XDEL leaves what lies before untouched, so that the numbers of the stream alone would not show it."""
    part, ids, epoch = leased
    if read:
        part.commit(epoch, 7, 1, "0-0", ids[read - 1], read)
    part.client.xdel(part.events, *(ids[number] for number in gone))
    seq, cursor = (2, ids[read - 1]) if read else (1, "0-0")
    args = (epoch, 7, seq, cursor, ids[9], 10 - read - lost)
    if not lost:
        assert part.commit(*args) == ["OK"]
        return
    assert refused(part, *args) == ["TRIMMED", str(lost)]
    assert part.commit(epoch, 7, seq, cursor, cursor, 0, release=True, block=failed(ids[read])) == ["OK"]
    assert part.clear(lost=True) == ["OK"]
    epoch = part.acquire(8)[1]
    assert part.commit(epoch, 8, 1, cursor, ids[8], 9 - read - lost) == ["OK"], "accepted once is accepted"
    assert part.commit(epoch, 8, 2, ids[8], ids[9], 1) == ["OK"]
    assert part.group()["lag"] in (0, None)
    assert part.hash()["count"] == "10"
    part.add()
    (unread,) = part.add()
    part.client.xdel(part.events, unread)
    last = part.client.xrevrange(part.events, count=1)[0][0].decode()
    assert refused(part, epoch, 8, 3, ids[9], last, 1) == ["TRIMMED", "1"], "and nothing else is"


@pytest.mark.parametrize(("first", "second"), [(6, 3), (3, 6)])
def test_what_is_deleted_after_a_loss_was_accepted_is_lost_as_well(leased: Leased, first: int, second: int) -> None:
    """Also where it lies before what was accepted, and the highest id that was deleted stays what it was."""
    part, ids, epoch = leased
    part.client.xdel(part.events, ids[first])
    assert part.commit(epoch, 7, 1, "0-0", "0-0", 0, release=True, block=failed(ids[0])) == ["OK"]
    assert part.clear(lost=True) == ["OK"]
    epoch = part.acquire(8)[1]
    assert part.commit(epoch, 8, 1, "0-0", ids[1], 2) == ["OK"]
    part.client.xdel(part.events, ids[second])
    assert refused(part, epoch, 8, 2, ids[1], ids[2], 1) == ["TRIMMED", "1"]


def test_what_is_gone_is_counted_once_and_not_again_for_what_retention_takes(leased: Leased) -> None:
    """Counting reads the whole backlog."""
    part, ids, epoch = leased
    part.commit(epoch, 7, 1, "0-0", ids[0], 1)
    part.client.xdel(part.events, ids[8])
    assert part.commit(epoch, 7, 2, ids[0], ids[0], 0, release=True, block=failed(ids[1])) == ["OK"]
    assert part.clear(lost=True) == ["OK"]
    epoch = part.acquire(8)[1]

    def looks(*args: Any) -> int:
        before = part.client.info("commandstats")["cmdstat_xrange"]["calls"]
        assert part.commit(epoch, 8, *args) == ["OK"]
        return int(part.client.info("commandstats")["cmdstat_xrange"]["calls"] - before)

    assert looks(1, ids[0], ids[2], 2) == 1, "for the new cursor's entry"
    part.client.xtrim(part.events, maxlen=7, approximate=False)  # a stranger takes what was read
    assert looks(2, ids[2], ids[3], 1) == 2
    assert looks(3, ids[3], ids[4], 1) == 1
    assert part.run("stream_trim", [part.events, part.own], ["1", "", "1000", "1"]) == [2, "0"]
    assert looks(4, ids[4], ids[5], 1) == 1


def test_a_commit_of_no_events_passes_over_what_was_trimmed(leased: Leased) -> None:
    """It blocks or releases a partition just because of that."""
    part, _, epoch = leased
    part.client.xtrim(part.events, maxlen=1, approximate=False)
    assert part.commit(epoch, 7, 1, "0-0", "0-0", 0, release=True, block="b") == ["OK"]
    assert part.hash()["block"] == "b"


def test_a_full_target_is_named(leased: Leased) -> None:
    part, ids, epoch = leased
    for _ in range(3):
        part.client.xadd(part.out, {"data": "x"})
    before = part.dump()
    effects: list[Word] = ["S", 4, "v", "X", 3, 3, 2, "data", "1"]
    assert part.commit(epoch, 7, 1, "0-0", ids[0], 1, names=names(part), effects=effects) == ["FULL", part.out]
    assert part.dump() == before
    effects[4] = 4
    effects = ["S", 4, "v", "X", 3, 4, 2, "data", "1"]
    assert part.commit(epoch, 7, 1, "0-0", ids[0], 1, names=names(part), effects=effects) == ["OK"]


def test_capacity_counts_what_the_slowest_reader_has_not_read(leased: Leased) -> None:
    part, ids, epoch = leased
    sent = [part.client.xadd(part.out, {"data": "x"}).decode() for _ in range(6)]
    effects: list[Word] = ["X", 3, 3, 2, "data", "1"]

    def try_it(seq: int) -> list[str]:
        cursor = ids[seq - 2] if seq > 1 else "0-0"
        return part.commit(epoch, 7, seq, cursor, ids[seq - 1], 1, names=names(part), effects=effects)

    part.client.xgroup_create(part.out, "fast", id=sent[5], entries_read=6)
    part.client.xgroup_create(part.out, "slow", id=sent[2], entries_read=3)
    assert try_it(1) == ["FULL", part.out]
    part.client.execute_command("XGROUP", "SETID", part.out, "slow", sent[3], "ENTRIESREAD", 4)
    assert try_it(1) == ["OK"]
    assert try_it(2) == ["FULL", part.out]


def test_plain_entries_of_a_stream_share_an_effect(leased: Leased) -> None:
    part, ids, epoch = leased
    effects: list[Word] = ["E", 3, 0, 2, "1", "a", "2", "b", "X", 3, 0, 2, "data", "3", "E", 3, 0, 1, "4", "c"]
    assert part.commit(epoch, 7, 1, "0-0", ids[0], 1, names=names(part), effects=effects) == ["OK"]
    assert part.outputs() == [
        {"data": "1", "key": "a"}, {"data": "2", "key": "b"}, {"data": "3"}, {"data": "4", "key": "c"},
    ]  # fmt: skip
    before = part.dump()
    effects = ["S", 4, "v", "E", 3, 4, 1, "5", "d"]
    assert part.commit(epoch, 7, 2, ids[0], ids[1], 1, names=names(part), effects=effects) == ["FULL", part.out]
    assert part.dump() == before
    many: list[Word] = ["E", 3, 0, 9_000, *("data", "key") * 9_000]  # more words than Lua could unpack at once
    assert part.commit(epoch, 7, 2, ids[0], ids[1], 1, names=names(part), effects=many) == ["OK"]
    assert part.client.xlen(part.out) == 9_004


@pytest.mark.parametrize(
    "effect", [["E", 3, 0, 1, "a", "b"], ["X", 3, 0, 2, "a", "b"], ["L", 3, 9, 2, "a", "b"], ["S", 3, "v"], ["D", 3]]
)
def test_a_key_of_another_type_is_named_before_anything_is_written(leased: Leased, effect: list[Word]) -> None:
    part, ids, epoch = leased
    wrong = f"{part.tag}:wrong"
    part.client.sadd(wrong, "member")
    before = part.dump()
    given: list[Word] = [wrong, f"{part.tag}:s1"]
    first: list[Word] = ["S", 4, "written?"]
    assert part.commit(epoch, 7, 1, "0-0", ids[0], 1, names=given, effects=first + effect) == ["TYPE", wrong]
    assert part.commit(epoch, 7, 1, "0-0", ids[0], 1, names=given, effects=effect + first) == ["TYPE", wrong]
    assert part.dump() == before


def test_an_unknown_effect_is_refused_before_anything_is_written(leased: Leased) -> None:
    part, ids, epoch = leased
    before = part.dump()
    with pytest.raises(redis.ResponseError, match="unknown effect Q"):
        part.commit(epoch, 7, 1, "0-0", ids[0], 1, names=names(part), effects=["S", 4, "v", "Q", 3])
    assert part.dump() == before


def test_an_entry_with_too_many_fields_is_refused_before_anything_is_written(leased: Leased) -> None:
    """Lua cannot unpack it: without the check the first effects would stay, again with every repetition."""
    part, ids, epoch = leased
    before = part.dump()
    words: list[Word] = [str(number) for number in range(20_000)]
    for op, limit in (("X", 0), ("L", 9)):
        effects: list[Word] = ["S", 4, "v", op, 3, limit, len(words), *words]
        with pytest.raises(redis.ResponseError, match="fields"):
            part.commit(epoch, 7, 1, "0-0", ids[0], 1, names=names(part), effects=effects)
        assert part.dump() == before


def test_release_and_block_go_with_the_commit(leased: Leased) -> None:
    part, ids, epoch = leased
    assert part.commit(epoch, 7, 1, "0-0", ids[4], 5, release=True, block='{"event":"x"}') == ["OK"]
    own = part.hash()
    assert (own["nonce"], own["owner"], own["block"], own["cursor"]) == ("", "", '{"event":"x"}', ids[4])
    assert part.acquire(8) == ["BLOCKED", '{"event":"x"}']


def test_without_the_flags_nothing_is_released_or_blocked(leased: Leased) -> None:
    part, ids, epoch = leased
    part.commit(epoch, 7, 1, "0-0", ids[4], 5)
    assert (part.hash()["nonce"], part.hash()["owner"]) == ("7", "a/0")
    assert "block" not in part.hash()


def test_a_bounded_log_stays_bounded(leased: Leased) -> None:
    part, _, epoch = leased
    for seq in range(1, 6):
        effects: list[Word] = []
        for number in range(200):
            effects += ["L", 3, 100, 2, "record", f"{seq}-{number}"]
        assert part.commit(epoch, 7, seq, "0-0", "0-0", 0, names=[part.failures], effects=effects) == ["OK"]
    assert part.client.xlen(part.failures) < 400, "trimming is approximate, by whole nodes"


def test_big_integers_stay_whole(part: Partition) -> None:
    """Lua's numbers are doubles: what is only handed on must stay text."""
    (first,) = part.add(1)
    part.acquire(7)
    epoch, nonce = BIG + 1, 2**62 + 1
    part.client.hset(part.own, mapping={"epoch": epoch, "nonce": nonce})
    assert part.commit(epoch + 1, nonce, 1, "0-0", first, 1)[0] == "FENCED"
    assert part.commit(epoch - 1, nonce, 1, "0-0", first, 1)[0] == "FENCED"
    assert part.commit(epoch, nonce + 1, 1, "0-0", first, 1)[0] == "FENCED"
    ms, seq = "1844674407370955161", "18446744073709551000"
    part.client.xadd(part.events, {"data": "x"}, id=f"{ms}-{seq}")
    part.commit(epoch, nonce, 1, "0-0", first, 1)
    effects: list[Word] = ["S", 3, str(BIG + 1), "X", 4, 0, 2, "data", str(BIG + 1)]
    given: list[Word] = [f"{part.tag}:s1", part.out]
    assert part.commit(epoch, nonce, 2, first, f"{ms}-{seq}", 1, names=given, effects=effects) == ["OK"]
    own = part.hash()
    assert (own["epoch"], own["nonce"], own["cursor"]) == (str(epoch), str(nonce), f"{ms}-{seq}")
    assert part.client.get(f"{part.tag}:s1") == str(BIG + 1).encode()
    assert part.outputs() == [{"data": str(BIG + 1)}]


def test_counts_beyond_what_fits_a_short_float_text(part: Partition) -> None:
    """tostring() would make 1e+15 of it."""
    (first,) = part.add(1)
    epoch = part.acquire(7)[1]
    part.client.hset(part.own, "count", 10**15)
    ms, _, seq = first.partition("-")
    part.client.execute_command("XSETID", part.events, f"{ms}-{int(seq) + 1}", "ENTRIESADDED", 10**15 + 1)
    part.client.xtrim(part.events, maxlen=1, approximate=False)
    assert part.commit(epoch, 7, 1, "0-0", first, 1) == ["OK"]
    assert part.hash()["count"] == str(10**15 + 1)


def test_scripts_survive_a_flushed_cache(leased: Leased) -> None:
    part, ids, epoch = leased
    for seq in range(1, 4):
        part.client.script_flush()
        before = ids[seq - 2] if seq > 1 else "0-0"
        assert part.commit(epoch, 7, seq, before, ids[seq - 1], 1) == ["OK"]
    part.client.script_flush()
    assert part.release(epoch, 7) == 1


def test_a_full_server_still_leases_commits_and_releases(
    server_kind: str, start_server: Callable[..., Server], app_name: str
) -> None:
    """allow-oom: when Redis is full, commits are what lets it drain."""
    server = start_server(server_kind, "--maxmemory", "8mb", "--maxmemory-policy", "noeviction", appendonly=False)
    with connect.client(server.endpoint) as client:
        part = Partition(client, app_name)
        ids = part.add(5)
        first = part.acquire(1)[1]
        for size in (50_000, 1_000, 10):
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                while True:
                    client.xadd(f"{app_name}:ballast", {"x": "y" * size})
        effects: list[Word] = ["X", 3, 0, 2, "data", "out", "S", 4, "s", "L", 6, 10, 2, "record", "r"]
        assert part.commit(first, 1, 1, "0-0", ids[1], 2, names=names(part), effects=effects) == ["OK"]
        assert part.commit(first, 1, 2, ids[1], ids[1], 0, release=True, block=failed(ids[2])) == ["OK"]
        assert part.clear(ids[2]) == ["OK"]
        epoch = part.acquire(2)[1]
        assert part.commit(epoch, 2, 1, ids[1], ids[1], 0, release=True, block=failed(ids[2])) == ["OK"]
        assert part.skip(ids[2], "data", "dead") == ["OK"]
        epoch = part.acquire(3)[1]
        assert part.release(epoch, 3, charge=4, death="x") == 1
        assert part.run("member_beat", [f"{{{app_name}}}:m", f"{{{app_name}}}:h"], ["a", "1", "r", "1"])[0] == "OK"
        expel = [f"{{{app_name}}}:m", f"{{{app_name}}}:h", f"{{{app_name}}}:c"]
        assert part.run("member_expel", expel, ["a", ""]) == 1
        assert part.group()["lag"] == 2


# --- a model of the decision ----------------------------------------------------------------------------------------


def decided(own: dict[str, str], stream: dict[str, Any], args: dict[str, Any]) -> str:
    """commit.lua's decision in a few lines of Python, from its description and not from its text."""
    if own.get("epoch") == str(args["epoch"]) and own.get("nonce") == "" and args["seq"] == int(own["seq"]):
        return "ALREADY"  # released by this very commit
    if (own.get("epoch"), own.get("nonce")) != (str(args["epoch"]), str(args["nonce"])):
        return "FENCED"
    if args["seq"] == int(own["seq"]):
        return "ALREADY"
    if args["seq"] != int(own["seq"]) + 1 or args["expected"] != own["cursor"]:
        return "CURSOR"
    if args["n"] > 0 and args["new"] not in stream["ids"]:
        return "HISTORY"
    if args["n"] > 0 and stream["added"] - len(stream["ids"]) > int(own["count"]):
        return "TRIMMED"
    if args["n"] > 0 and stream["added"] < int(own["count"]) + args["n"]:
        return "HISTORY"
    return "OK"


def test_the_script_agrees_with_a_model_on_random_inputs(part: Partition) -> None:
    chance = random.Random(20)
    ids = part.add(8)
    epoch = int(part.acquire(7)[1])
    seen: dict[str, int] = {}
    added, cursors = 8, ["0-0", *ids, "1-1", ids[-1] + "9"]
    for _ in range(1_500):
        if chance.random() < 0.05:
            part.client.xtrim(part.events, maxlen=chance.randint(3, 8), approximate=False)
        while part.client.xlen(part.events) < 6:
            cursors[1:-2] = ids = [*ids, *part.add(1)][-8:]
            added += 1
        present = [entry_id.decode() for entry_id, _ in part.client.xrange(part.events)]
        own = {
            "epoch": str(epoch + chance.choice([0] * 9 + [1])),
            "nonce": chance.choice(["7"] * 9 + ["", "8"]),
            "seq": str(chance.randint(0, 3)),
            "cursor": chance.choice(cursors),
            "count": str(added - len(present) + chance.choice([0, 0, 0, 1, 5, -1])),
        }
        part.client.hset(part.own, mapping=own)
        args: dict[str, Any] = {
            "epoch": epoch, "nonce": 7,
            "seq": int(own["seq"]) + chance.choice([1] * 8 + [0, 2, -1]),
            "expected": chance.choice([own["cursor"]] * 4 + [chance.choice(cursors)]),
            "new": chance.choice([*ids, *cursors]),
            "n": chance.choice([0, 1, 2, 5]),
        }  # fmt: skip
        expected = decided(own, {"ids": present, "added": added}, args)
        before = part.dump()
        reply = part.commit(*args.values(), names=[part.out], effects=["X", 3, 0, 2, "data", "1"])
        assert reply[0] == expected, (own, args, present, added)
        assert (part.dump() == before) == (expected != "OK")
        seen[expected] = seen.get(expected, 0) + 1
    assert set(seen) == {"OK", "ALREADY", "FENCED", "CURSOR", "HISTORY", "TRIMMED"}
    assert min(seen.values()) > 20, "every answer was met often enough to mean something"
