"""What handlers do through ctx: held back, merged, undone."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from runnelctl import errors
from runnelctl.core.model import Stream
from runnelctl.event import Event, Source
from runnelctl.records import codec_for
from runnelctl.runtime.context import Context, States

STREAMS = {"out": Stream(name="out", partitions=4, key="k", capacity=9), "plain": Stream(name="plain", partitions=1)}


class Desk:
    """A context over a dictionary; `fetches` counts the reads on the spot."""

    def __init__(self, **stored: bytes) -> None:
        self.stored, self.fetches = {f"state:{key}": text for key, text in stored.items()}, list[str]()
        self.states = States(lambda key: f"state:{key}", self._fetch)
        self.ctx = Context(
            topology="shop", processor="p", partition=3, epoch=99,
            log=logging.LoggerAdapter(logging.getLogger("test"), {}),
            codecs={name: codec_for(stream) for name, stream in STREAMS.items()},
            capacities={name: stream.capacity for name, stream in STREAMS.items()},
            states=self.states,
        )  # fmt: skip

    def _fetch(self, name: str) -> bytes | None:
        self.fetches.append(name)
        return self.stored.get(name)

    def at(self, key: str) -> Context:
        source = Source("orders", 3, lambda data: data, lambda value: "")
        self.ctx.event = Event(b"1-0", [b"data", b"{}", b"key", key.encode()], source)
        return self.ctx


def test_a_state_is_read_once_and_written_when_it_changed() -> None:
    desk = Desk(a=b'{"n":1}')
    assert desk.at("a").state == {"n": 1}
    assert desk.ctx.touched
    assert desk.ctx.collect() == []
    desk.at("a").state["n"] += 1
    assert desk.ctx.collect() == [("S", "state:a", (b'{"n":2}',))]
    desk.at("a").state["n"] += 1
    assert desk.ctx.collect() == [("S", "state:a", (b'{"n":3}',))]
    assert desk.fetches == ["state:a"]


def test_a_change_deep_inside_is_noticed() -> None:
    desk = Desk(a=b'{"list":[{"n":1}]}')
    desk.at("a").state["list"][0]["n"] = 2
    assert desk.ctx.collect() == [("S", "state:a", (b'{"list":[{"n":2}]}',))]


def test_an_emptied_state_is_deleted_and_a_new_one_that_stays_empty_is_not() -> None:
    desk = Desk(a=b'{"n":1}')
    desk.at("a").state.clear()
    assert desk.ctx.collect() == [("D", "state:a", ())]
    assert desk.at("b").state == {}
    assert desk.ctx.collect() == []


def test_a_failed_attempt_leaves_the_state_as_the_last_event_left_it() -> None:
    desk = Desk(a=b'{"n":[1]}')
    desk.at("a").state["n"].append(2)
    desk.ctx.collect()
    desk.at("a").state["n"].append(3)
    desk.ctx.emit("out", {"k": 1})
    desk.ctx.abandon()
    assert desk.at("a").state == {"n": [1, 2]}
    assert desk.ctx.collect() == [], "nothing of the attempt is left"
    assert desk.fetches == ["state:a"], "what is not committed yet must not be read from Redis again"


def test_a_state_that_is_no_json_undoes_its_neighbours_too() -> None:
    """Several states of one event are stored together or not at all, whichever of them cannot be."""
    for bad in ("a", "b", "c"):
        desk = Desk(a=b'{"n":1}', b=b'{"n":1}', c=b'{"n":1}')
        ctx = desk.at("a")
        for key in "abc":
            ctx.state_of(key)["n"] = object() if key == bad else 2
        with pytest.raises(errors.RecordError, match=f"key '{bad}' cannot be stored"):
            ctx.collect()
        ctx.abandon()
        for key in "abc":
            assert ctx.state_of(key) == {"n": 1}
            ctx.state_of(key)["n"] = 2
        effects = ctx.collect()
        assert sorted(name for _, name, _ in effects) == ["state:a", "state:b", "state:c"]


@pytest.mark.parametrize("value", [object(), {1, object()}, "\ud800", {(1, 2): object()}])
def test_a_state_that_is_no_json_is_refused(value: Any) -> None:
    desk = Desk()
    desk.at("a").state["x"] = value
    with pytest.raises(errors.RecordError, match="cannot be stored as JSON"):
        desk.ctx.collect()


def test_a_state_that_holds_itself_is_refused() -> None:
    desk = Desk()
    state = desk.at("a").state
    state["self"] = state
    with pytest.raises(errors.RecordError):
        desk.ctx.collect()


def test_the_state_of_another_key_and_of_a_batch() -> None:
    desk = Desk(b=b'{"n":1}')
    assert desk.at("a").state_of("b") == {"n": 1}
    desk.ctx.reset()
    desk.ctx.event = None
    with pytest.raises(errors.UsageError, match="state_of"):
        _ = desk.ctx.state
    assert desk.ctx.state_of("b") == {"n": 1}


def test_states_that_were_read_ahead_are_not_read_again() -> None:
    desk = Desk()
    assert sorted(desk.states.missing({"a", "b"})) == ["a", "b"]
    desk.states.fill("a", b'{"n":7}')
    desk.states.fill("b", None)
    assert desk.states.missing({"a", "b"}) == []
    assert (desk.at("a").state, desk.at("b").state) == ({"n": 7}, {})
    assert desk.fetches == []
    desk.states.clear()
    assert desk.states.missing({"a"}) == ["a"]


def test_an_emit_is_held_back_with_its_key_headers_and_capacity() -> None:
    desk = Desk()
    desk.ctx.emit("out", {"k": "x", "n": 1}, headers={"trace": "t"})
    desk.ctx.emit("out", {"k": "x"}, key="other")
    desk.ctx.emit("plain", {"n": 2})
    assert desk.ctx.touched
    first, second, third = desk.ctx.collect()
    assert first == ("X", first[1], (9, 6, b"data", b'{"k":"x","n":1}', b"key", "x", "h:trace", "t"))
    assert first[1].startswith("{shop:out:")
    assert second == ("E", second[1], (9, b'{"k":"x"}', "other"))
    assert third[:2] == ("X", "{shop:plain:0}:events")
    assert third[2][:4] == (STREAMS["plain"].capacity, 2, b"data", b'{"n":2}')
    assert desk.ctx.collect() == []


def test_the_mapping_of_an_attempt_is_not_that_of_the_next_one() -> None:
    desk = Desk(a=b'{"n":1}', b=b'{"n":2}')
    first = desk.at("a").state
    assert desk.ctx.state is first is desk.ctx.state_of("a")
    first["n"] = 9
    desk.ctx.abandon()
    assert desk.ctx.state == {"n": 1}
    desk.ctx.collect()
    assert desk.at("b").state == {"n": 2}


def test_an_emit_into_nowhere_is_refused_with_what_there_is() -> None:
    desk = Desk()
    with pytest.raises(errors.UsageError, match=r"'nowhere' is not declared.*out, plain"):
        desk.ctx.emit("nowhere", {})
    assert not desk.ctx.touched


def test_an_emit_of_what_is_no_record_is_refused_and_leaves_nothing() -> None:
    desk = Desk()
    for record in ({"k": float("nan")}, {"n": 1}, object(), {"k": "\ud800"}):
        with pytest.raises(errors.RecordError):
            desk.ctx.emit("out", record)
    assert desk.ctx.collect() == []
