"""What a history that was taken back cost, counted."""

from __future__ import annotations

from runnelctl.core.losses import Known, Loss, follows, loss

KNOWN = Known(committed=100, read=150, last=b"9-4", added=150)


def test_a_connection_that_only_broke_cost_nothing() -> None:
    assert loss(KNOWN, count=100, within=50, added=150) is None
    assert loss(KNOWN, count=101, within=49, added=190) is None  # its last commit got through after all


def test_what_was_read_is_counted_exactly_whatever_came_since() -> None:
    # Redis fell back to 120 events and the cursor at 90; 60 others came since.
    assert loss(KNOWN, count=90, within=30, added=180) == Loss(30, 10, b"9-4")


def test_what_nobody_here_had_read_shows_in_the_number_of_entries() -> None:
    known = Known(committed=100, read=100, last=b"9-4", added=500)
    assert loss(known, count=100, within=0, added=420) == Loss(80, 0, b"9-4")


def test_commits_can_be_taken_back_alone() -> None:
    assert loss(KNOWN, count=60, within=90, added=150) == Loss(0, 40, b"9-4")


def test_ids_compare_by_number() -> None:
    assert follows(b"10-0", b"9-9")
    assert follows(b"9-10", b"9-9")
    assert not follows(b"9-9", b"9-9")
    assert not follows(b"0-0", b"9-9")
