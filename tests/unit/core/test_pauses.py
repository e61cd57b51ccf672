"""Which partitions the fields of the hash mean."""

from __future__ import annotations

from runnelctl.core import pauses

PAUSED = {"bill", "ship:3", "bill.old"}


def test_a_processor_means_all_of_its_partitions() -> None:
    assert pauses.is_paused(PAUSED, "bill", 0)
    assert pauses.is_paused(PAUSED, "ship", 3)
    assert not pauses.is_paused(PAUSED, "ship", 0)
    assert not pauses.is_paused(PAUSED, "bil", 0)
    assert not pauses.is_paused((), "bill", 0)


def test_fields_of_a_processor_are_its_own() -> None:
    assert sorted(pauses.within({"bill", "bill:0", "bill.old", "ship:3"}, "bill")) == ["bill", "bill:0"]


def test_the_headline_says_who_and_why() -> None:
    assert pauses.headline({"who": "me@here", "reason": "a deploy"}) == "paused by me@here: a deploy"
    assert pauses.headline({}) == "paused by somebody"
