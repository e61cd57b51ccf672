"""lease_acquire.lua and lease_release.lua on real servers: every answer, and what each leaves behind."""

from __future__ import annotations

import pytest

from tests.partition import Partition, failed

FAR = 9_007_199_254_000_000  # an epoch ahead of any clock, near the last whole number that Lua counts exactly


def test_a_first_acquire_starts_at_the_beginning(part: Partition) -> None:
    part.add(3)
    status, epoch, cursor, count, tries, suspect, lost = part.acquire(7, "a/1")
    assert (status, cursor, count, tries, suspect, lost) == ("OK", "0-0", "0", "0", "0", "0")
    server_ms = int(part.client.time()[0]) * 1000
    assert abs(int(epoch) - server_ms) < 10_000
    assert part.hash() == {
        "epoch": epoch, "nonce": "7", "owner": "a/1", "cursor": "0-0", "count": "0", "seq": "0", "from": "0-0",
        "tries": "0", "suspect": "0",
    }  # fmt: skip
    assert (part.group()["lag"], part.group()["pending"]) == (3, 0)


def test_start_latest_passes_over_what_is_there(part: Partition) -> None:
    ids = part.add(3)
    assert part.acquire(7, start="latest")[2:4] == [ids[-1], "3"]
    assert part.group()["lag"] == 0


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_an_empty_partition_is_made(part: Partition, start: str) -> None:
    assert part.acquire(7, start=start)[:1] + part.acquire(7, start=start)[2:] == ["OK", "0-0", "0", "0", "0", "0"]
    assert part.client.type(part.events) == b"stream"
    part.add(2)
    assert part.group()["lag"] == 2


def test_a_new_processor_on_a_trimmed_stream_counts_what_it_can_still_read(part: Partition) -> None:
    part.add(5)
    part.client.xtrim(part.events, maxlen=2, approximate=False)
    assert part.acquire(7)[2:] == ["0-0", "3", "0", "0", "0"]
    assert part.group()["lag"] == 2


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_start_is_only_for_a_processor_new_to_the_stream(part: Partition, start: str) -> None:
    ids = part.add(4)
    epoch = part.acquire(7)[1]
    part.commit(epoch, 7, 1, "0-0", ids[1], 2, release=True)
    assert part.acquire(8, start=start)[2:4] == [ids[1], "2"]


def test_the_same_nonce_gets_the_same_grant_again(part: Partition) -> None:
    part.add(3)
    first = part.acquire(7)
    before = part.dump()
    assert part.acquire(7) == first
    assert part.acquire(7, "other/9", dead=7) == first
    assert part.dump() == before


def test_another_is_busy_and_changes_nothing(part: Partition) -> None:
    part.acquire(7, "a/1")
    before = part.dump()
    assert part.acquire(8, "b/0") == ["BUSY", "a/1"]
    assert part.acquire(8, "b/0", dead=6) == ["BUSY", "a/1"]
    assert part.acquire(8, "b/0", dead="") == ["BUSY", "a/1"]
    assert part.dump() == before


def test_an_empty_nonce_is_nobodys(part: Partition) -> None:
    epoch = part.acquire(7)[1]
    part.release(epoch, 7)
    assert part.hash()["nonce"] == ""
    assert part.acquire("")[0] == "OK", "no grant is repeated for an empty nonce"
    assert int(part.hash()["epoch"]) > int(epoch)


def test_the_dead_holders_nonce_opens_the_way(part: Partition) -> None:
    first = part.acquire(7, "a/0")
    second = part.acquire(8, "b/0", dead=7)
    assert second[0] == "OK"
    assert int(second[1]) > int(first[1])
    assert part.hash()["owner"] == "b/0"
    assert part.acquire(9, "c/0", dead=7) == ["BUSY", "b/0"], "what was seen is seen no more"


def test_blocked_is_refused_even_to_who_knows_the_dead(part: Partition) -> None:
    epoch = part.acquire(7)[1]
    part.client.hset(part.own, "block", '{"event":"1-1"}')
    before = part.dump()
    assert part.acquire(8, dead=7) == ["BLOCKED", '{"event":"1-1"}']
    part.release(epoch, 7)
    assert part.acquire(8) == ["BLOCKED", '{"event":"1-1"}']
    assert {k: v for k, v in part.dump().items() if k != part.own.encode()} == {
        k: v for k, v in before.items() if k != part.own.encode()
    }


def test_epochs_rise_with_every_change_of_hands(part: Partition) -> None:
    epochs = []
    for nonce in range(1, 30):
        epoch = part.acquire(nonce, f"host{nonce}/0", dead=nonce - 1)[1]
        epochs.append(int(epoch))
        if nonce % 2:
            part.release(epoch, nonce)
    assert epochs == sorted(set(epochs))


def test_epochs_rise_when_the_clock_is_behind(part: Partition) -> None:
    part.acquire(1)
    part.client.hset(part.own, "epoch", str(FAR))
    assert int(part.acquire(2, dead=1)[1]) == FAR + 1
    assert int(part.acquire(3, dead=2)[1]) == FAR + 2
    assert part.hash()["epoch"] == str(FAR + 2), "and stay whole numbers"


def test_epochs_rise_when_the_hash_was_rolled_back(part: Partition) -> None:
    before = int(part.acquire(1)[1])
    part.client.hset(part.own, "epoch", str(before - 1_000_000))
    after = int(part.acquire(2, dead=1)[1])
    assert after >= before, "the clock, not the counter, makes it new"
    part.client.hset(part.own, "epoch", str(before - 1_000_000))
    part.client.hset(part.own, "nonce", "")
    assert int(part.acquire(3)[1]) >= after


# --- the own hash is gone -------------------------------------------------------------------------------------------


def _passed(part: Partition, count: int, of: int) -> list[str]:
    """`count` of `of` events are handled, and nobody owns the partition; the ids of all."""
    ids = part.add(of)
    epoch = part.acquire(1)[1]
    part.commit(epoch, 1, 1, "0-0", ids[count - 1], count, release=True)
    return ids


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_position_that_was_deleted_is_not_mistaken_for_a_new_processor(part: Partition, start: str) -> None:
    ids = _passed(part, 3, 5)
    epoch = part.hash()["epoch"]
    part.client.delete(part.own)
    before = part.dump()
    assert part.acquire(2, start=start) == ["ASTRAY", ids[2], "3"]
    assert part.dump() == before, "nobody has it"
    record = failed("")
    assert part.acquire(2, start=start, record=record) == ["BLOCKED", record]
    assert part.acquire(3, start=start) == ["BLOCKED", record]
    assert (part.hash()["cursor"], part.hash()["count"], part.hash()["nonce"]) == (ids[2], "3", "")
    assert part.clear() == ["OK"]
    status, later, cursor, count, *_, lost = part.acquire(4, start=start)
    assert (status, cursor, count, lost) == ("OK", ids[2], "3", "0")
    assert int(later) >= int(epoch)
    assert part.commit(later, 4, 1, ids[2], ids[4], 2) == ["OK"]


def test_its_holder_commits_nothing_any_more(part: Partition) -> None:
    ids = part.add(3)
    epoch = part.acquire(1)[1]
    part.commit(epoch, 1, 1, "0-0", ids[0], 1)
    part.client.delete(part.own)
    assert part.commit(epoch, 1, 2, ids[0], ids[1], 1)[0] == "FENCED"
    part.acquire(2, record=failed(""))
    assert part.commit(epoch, 1, 2, ids[0], ids[1], 1)[0] == "FENCED"
    assert part.release(epoch, 1) == 0


def test_what_was_parked_stays_parked(part: Partition) -> None:
    _passed(part, 1, 2)
    part.client.hset(part.parked, mapping={"ada": "{}", "bob": "{}"})
    part.client.rpush(f"{part.parked}:ada", "1-1 x", "1-2 xx")
    part.client.rpush(f"{part.parked}:bob", "1-3 y")
    part.client.delete(part.own)
    part.acquire(2, record=failed(""))
    told = {name: value for name, value in part.hash().items() if name.startswith("parked")}
    assert told.pop("parked_first") in ("ada", "bob")
    assert told == {"parked_keys": "2", "parked_events": "3", "parked_bytes": "16"}


def test_a_group_that_does_not_know_its_count_has_one_all_the_same(part: Partition) -> None:
    ids = part.add(4)
    part.client.xgroup_create(part.events, "billing", id=ids[1])
    assert part.acquire(2) == ["ASTRAY", ids[1], "2"]


# --- tries and suspects ---------------------------------------------------------------------------------------------


def test_a_takeover_at_a_standing_cursor_suspects_the_next_event(part: Partition) -> None:
    part.add(3)
    part.acquire(1)
    for nonce, tries in ((2, "1"), (3, "2"), (4, "3")):
        epoch = part.acquire(nonce, f"host{nonce}/0", dead=nonce - 1)[1]
        assert (part.hash()["tries"], part.hash()["suspect"]) == (tries, "1")
        assert part.commit(epoch, nonce, 1, "0-0", "0-0", 0) == ["OK"], "announced before it is tried"


def test_hosts_that_are_lost_before_they_tried_a_suspect_do_not_convict_it(part: Partition) -> None:
    """Lost while Redis was slow, or in a storm of deploys: the event was in no handler."""
    part.add(3)
    part.acquire(1)
    for nonce in (2, 3, 4, 5):
        assert part.acquire(nonce, f"host{nonce}/0", dead=nonce - 1)[4:6] == ["1", "1"]
    assert part.hash()["sure"] == "0"


def test_a_host_that_takes_what_is_its_own_already_suspects_nobody(part: Partition) -> None:
    """It never heard that it has the partition, so nothing was tried there; of its dead it knows more than Redis."""
    part.add(3)
    part.acquire(1, "host:7:a/0")
    for nonce in (2, 3, 4):
        epoch, _, _, tries, suspect, _ = part.acquire(nonce, f"host:7:a/{nonce}", dead=nonce - 1)[1:]
        assert (tries, suspect) == ("0", "0")
        assert part.commit(epoch, nonce, 1, "0-0", "0-0", 0) == ["OK"]
    assert part.acquire(5, "host:8:b/0", dead=4)[4:6] == ["1", "1"]


def test_a_takeover_with_nothing_to_read_suspects_nobody(part: Partition) -> None:
    """An event that comes after the host was lost had no part in it, and must not pay for it later."""
    ids = part.add(1)
    epoch = part.acquire(1)[1]
    part.commit(epoch, 1, 1, "0-0", ids[0], 1)
    for nonce in (2, 3, 4, 5):
        assert part.acquire(nonce, f"host{nonce}/0", dead=nonce - 1)[4:6] == ["0", "0"]
    part.add(1)
    assert part.acquire(6, "host6/0", dead=5)[4:6] == ["1", "2"]


def test_a_takeover_after_progress_suspects_nobody(part: Partition) -> None:
    ids = part.add(3)
    epoch = part.acquire(1)[1]
    part.commit(epoch, 1, 1, "0-0", ids[0], 1)
    assert part.acquire(2, "b/0", dead=1)[4:6] == ["0", "0"]


def test_a_release_without_a_charge_suspects_nobody(part: Partition) -> None:
    part.add(3)
    epoch = part.acquire(1)[1]
    assert part.release(epoch, 1) == 1
    assert part.acquire(2)[4:6] == ["0", "0"]


def test_a_third_takeover_leaves_no_doubt(part: Partition) -> None:
    """At the second the event was tried alone in its slice, but not on its host; twice is no chance."""
    part.add(3)
    part.acquire(1)
    epoch = part.acquire(2, "b/0", dead=1)[1]
    assert part.hash()["sure"] == "0"
    part.commit(epoch, 2, 1, "0-0", "0-0", 0)
    epoch = part.acquire(3, "c/0", dead=2)[1]
    assert part.hash()["sure"] == "2"
    part.commit(epoch, 3, 1, "0-0", "0-0", 0)
    part.acquire(4, "d/0", dead=3)
    assert part.hash()["sure"] == "1"


def test_passing_the_suspect_clears_it_and_passing_less_does_not(part: Partition) -> None:
    ids = part.add(4)
    epoch = part.acquire(1)[1]
    part.release(epoch, 1, charge=3, death="boom")
    epoch = part.acquire(2)[1]
    part.commit(epoch, 2, 1, "0-0", ids[1], 2)
    assert {k: part.hash()[k] for k in ("tries", "suspect", "death")} == {"tries": "1", "suspect": "3", "death": "boom"}
    part.commit(epoch, 2, 2, ids[1], ids[2], 1)
    assert {k: part.hash()[k] for k in ("tries", "suspect", "death")} == {"tries": "0", "suspect": "0", "death": ""}


def test_a_takeover_keeps_a_suspect_that_lies_further_on(part: Partition) -> None:
    part.add(5)
    epoch = part.acquire(1)[1]
    part.release(epoch, 1, charge=4)
    part.acquire(2)
    assert part.acquire(3, "b/0", dead=2)[4:6] == ["1", "4"]


# --- release --------------------------------------------------------------------------------------------------------


def test_release_needs_epoch_and_nonce(part: Partition) -> None:
    epoch = int(part.acquire(7)[1])
    before = part.dump()
    assert part.release(epoch + 1, 7) == 0
    assert part.release(epoch, 8) == 0
    assert part.release(epoch - 1, 7, charge=1, death="x") == 0
    assert part.release(0, "") == 0
    assert part.dump() == before
    assert part.release(epoch, 7) == 1
    assert (part.hash()["nonce"], part.hash()["owner"], part.hash()["epoch"]) == ("", "", str(epoch))
    assert part.release(epoch, 7) == 0, "twice is once"


def test_release_of_what_never_was_is_nothing(part: Partition) -> None:
    assert part.release(1, 7) == 0
    assert part.dump() == {}


def test_charges_add_up_for_one_event_and_start_anew_for_another(part: Partition) -> None:
    part.add(5)
    for nonce, ordinal, tries in [(1, 2, "1"), (2, 2, "2"), (3, 2, "3"), (4, 3, "1"), (5, 2, "1")]:
        epoch = part.acquire(nonce)[1]
        part.release(epoch, nonce, charge=ordinal, death=f"death {nonce}")
        assert (part.hash()["suspect"], part.hash()["tries"]) == (str(ordinal), tries)
        assert part.hash()["death"] == f"death {nonce}"


def test_a_charge_keeps_how_far_the_call_went_and_whether_it_is_sure(part: Partition) -> None:
    part.add(9)
    for nonce, first, last, sure, expected in [(1, 2, 5, False, "0"), (2, 2, 2, True, "1"), (3, 2, 4, False, "1")]:
        epoch = part.acquire(nonce)[1]
        part.release(epoch, nonce, charge=first, last=last, sure=sure)
        assert (part.hash()["suspect"], part.hash()["alone"]) == (str(first), str(last))
        assert part.hash()["sure"] == expected, "once sure, always sure of the same event"
    epoch = part.acquire(4)[1]
    part.release(epoch, 4, charge=3, sure=False)
    assert part.hash()["sure"] == "0", "of another event nothing is known"


def test_an_event_that_was_committed_is_not_charged(part: Partition) -> None:
    ids = part.add(3)
    epoch = part.acquire(1)[1]
    part.commit(epoch, 1, 1, "0-0", ids[1], 2)
    assert part.release(epoch, 1, charge=2, death="late news") == 1
    assert part.acquire(2)[4:6] == ["0", "0"]


def test_ordinals_compare_as_numbers(part: Partition) -> None:
    ids = part.add(12)
    epoch = part.acquire(1)[1]
    part.commit(epoch, 1, 1, "0-0", ids[8], 9)
    assert part.release(epoch, 1, charge=10) == 1
    assert part.acquire(2)[4:6] == ["1", "10"]


def test_lost_is_what_was_trimmed_unread(part: Partition) -> None:
    ids = part.add(10)
    epoch = part.acquire(1)[1]
    part.commit(epoch, 1, 1, "0-0", ids[3], 4, release=True)
    part.client.xtrim(part.events, maxlen=6, approximate=False)
    assert part.acquire(2)[6] == "0", "what lies behind the cursor may go"
    part.client.xtrim(part.events, maxlen=3, approximate=False)
    assert part.acquire(2)[6] == "3"
    assert part.acquire(3, dead=2)[6] == "3"


def test_a_partition_whose_ids_are_used_up_can_still_be_taken_over(part: Partition) -> None:
    part.client.xadd(part.events, {"data": "{}"}, id="18446744073709551615-18446744073709551615")
    epoch = part.acquire(7)[1]
    highest = "18446744073709551615-18446744073709551615"
    assert part.commit(epoch, 7, 1, "0-0", highest, 1) == ["OK"]
    assert part.acquire(8, dead="7")[0] == "OK"
    assert part.acquire(9, dead="8")[0] == "OK", "its second holder was lost, too, and committed nothing"
