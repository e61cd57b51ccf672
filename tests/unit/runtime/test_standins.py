"""Who may have the partitions of a slice that is not ready: nobody here yet, its siblings, or itself."""

from __future__ import annotations

import dataclasses

import pytest

from runnelctl.core.plan import plan, replan
from runnelctl.runtime import board as cells
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.host import Host
from runnelctl.runtime.places import abouts, serving
from runnelctl.runtime.standins import StandIns, absent, resting, starting
from runnelctl.store import endpoint
from tests.bench import topology


def processes(host: Host, number: int) -> Host:
    """The host after a reload of a file that says so."""
    old = host.plan.topology
    changed = dataclasses.replace(old.processors["billing"], processes=number)
    return dataclasses.replace(
        host, plan=replan(host.plan, dataclasses.replace(old, processors={"billing": changed}), None)
    )


def ready(host: Host, *slots: int) -> None:
    for slot in slots:
        base = host.board.slot(slot)
        for cell in (cells.S_INCARNATION, cells.S_READY, cells.S_PID):
            host.board.q[base + cell] = 1


def hold(host: Host, unit: int, slot: int) -> None:
    base = host.board.unit(unit)
    host.board.q[base + cells.U_SLOT], host.board.q[base + cells.U_HELD] = slot, 1


@pytest.fixture
def host() -> Host:
    """Two partitions, one slice that was never ready."""
    made = plan(topology())
    return Host(
        plan=made, endpoint=endpoint.unix("/nowhere"), member="h:1:x", board=Board(Shape(4, 2)), directory="/nowhere",
        wakes={}, drain=False, digest="", embedded_root=None,
    )  # fmt: skip


def test_a_host_that_joins_is_starting_until_all_its_slices_were_ready(host: Host) -> None:
    host = processes(host, 2)
    assert starting(host) == ["billing"]
    ready(host, 0)
    assert starting(host) == ["billing"]
    ready(host, 1)
    assert starting(host) == []


def test_one_that_runs_partitions_is_not_starting_since_a_reload_adds_a_slice(host: Host) -> None:
    ready(host, 0)
    hold(host, 0, 0)
    host = processes(host, 2)
    assert starting(host) == []
    unit = host.plan.units[0]
    assert resting(host, 1) and not resting(host, 0)
    assert StandIns(host).place(unit, (host.member, 1), suspected=False) == (host.member, 0), "the ready one goes on"
    ready(host, 1)
    assert StandIns(host).place(unit, (host.member, 1), suspected=False) == (host.member, 1)


def test_a_slice_that_was_never_ready_and_is_gone_keeps_nothing_from_the_host(host: Host) -> None:
    ready(host, 0)
    host = processes(processes(host, 2), 1)
    assert [slot.retired for slot in host.plan.slots] == [False, True]
    assert starting(host) == []


@pytest.mark.parametrize("cell", [cells.S_ASKED, cells.S_RECYCLE, cells.S_OUTDATED])
def test_nobody_who_leaves_stands_in(host: Host, cell: int) -> None:
    host = processes(host, 3)
    ready(host, 0, 1)
    host.board.q[host.board.slot(0) + cell] = 1
    assert StandIns(host).place(host.plan.units[0], (host.member, 2), suspected=False) == (host.member, 1)


def die(host: Host, slot: int) -> None:
    """Its first process ended and was spared."""
    base = host.board.slot(slot)
    for cell in (cells.S_DEAD, cells.S_SPARED):
        host.board.q[base + cell] = 1


def test_a_host_rests_from_a_processor_while_all_its_slices_are_gone(host: Host) -> None:
    assert absent(host) == [], "it is starting"
    host = processes(host, 2)
    ready(host, 0, 1)
    die(host, 0)
    assert absent(host) == [], "the other one stands in"
    host.board.q[host.board.slot(1) + cells.S_ASKED] = 1
    assert absent(host) == ["billing"]
    host.board.q[host.board.slot(0) + cells.S_READY] = 2
    assert absent(host) == []


def test_a_death_that_was_not_spared_keeps_its_partitions(host: Host) -> None:
    ready(host, 0)
    host.board.q[host.board.slot(0) + cells.S_DEAD] = 1
    assert absent(host) == []


def test_a_suspect_waits_where_its_process_died_and_the_others_go_to_another_host(host: Host) -> None:
    ready(host, 0)
    unit = host.plan.units[0]
    base = host.board.unit(0)
    host.board.q[base + cells.U_FOR] = 1
    die(host, 0)
    there = ("other", 0)
    assert StandIns(host).place(unit, there, suspected=False) == there
    assert StandIns(host).place(unit, there, suspected=True) == (host.member, 0)
    host.board.q[base + cells.U_FOR] = 2  # it was taken for the process to come
    assert StandIns(host).place(unit, there, suspected=True) == (host.member, 0)
    host.board.q[base + cells.U_FOR] = 0  # it ran here before, and was somebody else's when the process died
    assert StandIns(host).place(unit, there, suspected=True) == there
    host.board.q[base + cells.U_FOR] = 2
    host.board.q[host.board.slot(0) + cells.S_READY] = 2
    assert StandIns(host).place(unit, there, suspected=True) == there


def test_who_rests_is_given_nothing_while_another_host_can() -> None:
    a, b = b'1|1|{"capacity":{"x":2,"y":1},"resting":["x"]}', b'1|1|{"capacity":{"x":1,"y":1}}'
    assert serving({"a": a, "b": b}) == {"a": {"x": 0, "y": 1}, "b": {"x": 1, "y": 1}}
    assert serving({"a": a}) == {"a": {"x": 2, "y": 1}}, "its partitions wait for its next process"
    beginner = b'1|1|{"capacity":{"x":1,"y":1},"starting":["x"]}'
    assert serving({"a": a, "b": beginner}) == {"a": {"x": 2, "y": 1}, "b": {"x": 0, "y": 1}}
    assert serving({"a": b"junk"}) == {"a": {}}


def test_what_members_say_is_compared_without_what_changes_with_every_beat() -> None:
    said = {"a": b'17|1|{"capacity":{"x":1}}', "b": b"18|7|2"}
    assert abouts(said) == abouts({"a": b'19|2|{"capacity":{"x":1}}', "b": b"20|8|2"})
    assert abouts(said) != abouts({**said, "a": b'19|2|{"capacity":{"x":1},"starting":["x"]}'})
    assert abouts(said) != abouts({"a": said["a"]})
