"""Judging who is alive: by what an own clock saw, never by an outage."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core.membership import Watch, expired, look, next_look

TTL = 6.0


def watched(answers: list[tuple[float, dict[str, bytes]]]) -> Watch:
    watch: Watch | None = None
    for now, members in answers:
        watch = look(watch, members, now, TTL)
    assert watch is not None
    return watch


def test_a_member_that_stood_still_a_whole_ttl_of_answered_time_is_expelled_with_the_entry_seen() -> None:
    answers = [(at / 2, {"me": b"%d" % at, "it": b"7"}) for at in range(13)]
    watch = watched(answers)
    assert expired(watch, "me", 5.999, TTL) == []
    assert expired(watch, "me", 6.0, TTL) == [("it", b"7")]


def test_one_beat_starts_the_watch_anew() -> None:
    answers = [(at / 2, {"it": b"7" if at < 11 else b"8"}) for at in range(23)]
    watch = watched(answers)
    assert expired(watch, "me", 11.0, TTL) == []
    assert expired(watch, "me", 11.5, TTL) == [("it", b"8")]


def test_who_looks_again_when_told_finds_the_dead_at_once() -> None:
    """A beat comes every quarter of a ttl; waiting for the next one would cost as much."""
    watch = watched([(0.3, {"me": b"1", "it": b"7"}), (1.7, {"me": b"2", "it": b"7", "new": b"1"})])
    due = next_look(watch, "me", 1.7, TTL)
    assert 6.3 <= due < 6.31
    assert expired(watch, "me", due, TTL) == [("it", b"7")]
    assert 7.7 <= next_look(watch, "me", due, TTL) < 7.71, "then the next"
    assert next_look(watched([(0.0, {"me": b"1"})]), "me", 0.0, TTL) == math.inf


def test_i_am_never_among_the_dead() -> None:
    watch = watched([(at / 2, {"me": b"7"}) for at in range(100)])
    assert expired(watch, "me", 50.0, TTL) == []


def test_an_outage_looks_like_nobodys_death() -> None:
    before = [(at / 2, {"it": b"7"}) for at in range(10)]
    watch = watched([*before, (1_000.0, {"it": b"7"})])
    assert expired(watch, "me", 1_000.0, TTL) == []
    assert expired(watch, "me", 1_005.9, TTL) == []


def test_a_gap_of_more_than_half_a_ttl_resets_and_a_shorter_one_does_not() -> None:
    steady = [(at * 2.9, {"it": b"7"}) for at in range(4)]
    assert expired(watched(steady), "me", 8.7, TTL) == [("it", b"7")]
    gappy = [(at * 3.1, {"it": b"7"}) for at in range(4)]
    assert expired(watched(gappy), "me", 9.3, TTL) == []


def test_who_comes_back_under_the_same_name_is_watched_anew() -> None:
    answers = [(0.0, {"it": b"7"}), (2.0, {"it": b"7"}), (4.0, {}), (6.0, {"it": b"7"})]
    assert expired(watched(answers), "me", 6.0, TTL) == []


@given(
    st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=1, max_size=60),
)
def test_expelled_only_after_a_ttl_of_the_same_entry_without_a_gap(steps: list[tuple[float, bool]]) -> None:
    """An independent account: since when the entry is the same in answers at most half a ttl apart."""
    watch: Watch | None = None
    now, counter, since, last = 0.0, 0, 0.0, None
    for gap, beats in steps:
        now += gap
        counter += beats
        watch = look(watch, {"it": b"%d" % counter}, now, TTL)
        if beats or last is None or now - last > TTL / 2:
            since = now
        last = now
        assert bool(expired(watch, "me", now, TTL)) == (now - since >= TTL)


@given(st.lists(st.floats(0, TTL / 2), min_size=1, max_size=200))
def test_who_beats_within_every_ttl_lives_for_ever(gaps: list[float]) -> None:
    watch: Watch | None = None
    now = beaten = 0.0
    for counter, gap in enumerate(gaps):
        now += gap
        if now - beaten >= TTL / 2:
            beaten = now
        watch = look(watch, {"it": b"%r" % beaten, "other": b"%d" % counter}, now, TTL)
        assert expired(watch, "me", now, TTL) == []
