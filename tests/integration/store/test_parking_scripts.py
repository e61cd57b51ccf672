"""Parking on real servers: what a commit parks, takes off and reopens, and what operators do to it; a refused call
leaves everything byte by byte as it was."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from runnelctl.core import keys, parking
from tests.partition import PROCESSOR, STREAM, Partition, Word


class Lot:
    """The parked keys of one partition, driven by commits of nothing but parking."""

    def __init__(self, part: Partition) -> None:
        self.part = part
        where = (part.topology, STREAM, part.number, PROCESSOR)
        self.parked, self.replaying = keys.parked(*where), keys.replaying(*where)
        self.returned = keys.returned(*where)
        self.where = where
        self.epoch = part.acquire(7, "a/0")[1]
        self.seq = 0
        self.cursor = "0-0"

    def list(self, key: str) -> str:
        return keys.parked_events(*self.where, key)

    def commit(self, *effects: tuple[str, ...]) -> list[str]:
        """('P', key, element, record) | ('U', key, token) | ('F', key, token, record)"""
        names: list[Word] = []
        flat: list[Word] = []
        for op, key, *rest in effects:
            lists = [self.list(key), self.parked] + ([self.replaying] if op != "P" else [])
            names += lists
            flat += [op, *range(len(names) + 3 - len(lists), len(names) + 3), key, *rest]
        reply = self.part.commit(self.epoch, 7, self.seq + 1, self.cursor, self.cursor, 0, names=names, effects=flat)
        if reply == ["OK"]:
            self.seq += 1
        return reply

    def refused(self, *effects: tuple[str, ...]) -> list[str]:
        before = self.part.dump()
        reply = self.commit(*effects)
        assert self.part.dump() == before
        return reply

    def operate(self, name: str, key: str, *args: Word, more: tuple[str, ...] = ()) -> Any:
        names = [self.part.own, self.parked, self.list(key), self.replaying, *more]
        return self.part.run(name, names, [key, *args])

    def books(self) -> tuple[int, int, int]:
        """Keys, events and bytes as the own hash counts them."""
        own = self.part.hash()
        return tuple(int(own.get(f"parked_{name}", 0)) for name in ("keys", "events", "bytes"))  # type: ignore[return-value]

    def is_true(self) -> None:
        """The books agree with what is there."""
        client = self.part.client
        names = [name.decode() for name in client.hkeys(self.parked)]
        stored = [element for name in names for element in client.lrange(self.list(name), 0, -1)]
        assert self.books() == (len(names), len(stored), sum(map(len, stored)))
        assert set(client.hkeys(self.replaying)) <= set(client.hkeys(self.parked))
        first = self.part.hash().get("parked_first")
        assert (first in names) if names else (first is None)


@pytest.fixture
def lot(part: Partition) -> Lot:
    return Lot(part)


def element(number: int, revision: int = 0) -> str:
    return parking.pack(b"%d-0" % number, [b"data", b"{}"], revision).decode("latin-1")


def token(number: int, revision: int = 0) -> str:
    return f"{number}-0#{revision}"


def test_a_key_opens_when_its_last_event_is_taken_off(lot: Lot) -> None:
    assert lot.commit(("P", "a", element(1), "why"), ("P", "a", element(2), ""), ("P", "b", element(3), "b")) == ["OK"]
    assert lot.books()[:2] == (2, 3)
    lot.is_true()
    assert lot.operate("parked_replay", "a", "", "{}", "") == ["OK", 2]
    assert lot.commit(("U", "a", token(1))) == ["OK"]
    assert lot.part.client.hexists(lot.parked, "a")
    assert lot.part.client.hexists(lot.replaying, "a")
    assert lot.part.hash()["parked_first"] == "a"
    assert lot.commit(("U", "a", token(2))) == ["OK"]
    assert lot.part.client.hkeys(lot.parked) == [b"b"]
    assert not lot.part.client.exists(lot.replaying)
    assert lot.part.hash()["parked_first"] == "b"
    lot.is_true()


def test_a_key_that_opens_and_fails_again_in_one_commit(lot: Lot) -> None:
    lot.commit(("P", "a", element(1), "why"))
    assert lot.commit(("U", "a", token(1)), ("P", "a", element(5), "again"), ("P", "a", element(6), "")) == ["OK"]
    assert lot.part.client.hget(lot.parked, "a") == b"again"
    assert lot.part.client.llen(lot.list("a")) == 2
    lot.is_true()


def test_an_event_that_fails_again_stays_first_with_its_new_record(lot: Lot) -> None:
    lot.commit(("P", "a", element(1), "why"), ("P", "a", element(2), ""))
    lot.operate("parked_replay", "a", "", "{}", "")
    lot.part.client.hset(lot.part.own, mapping={"replay_tries": 1, "replay_sure": 1, "replay_death": "x"})
    assert lot.commit(("F", "a", token(1), "still")) == ["OK"]
    assert lot.part.client.hget(lot.parked, "a") == b"still"
    assert not lot.part.client.exists(lot.replaying)
    assert not {"replay_tries", "replay_sure", "replay_death"} & lot.part.hash().keys()
    assert lot.part.client.lindex(lot.list("a"), 0).startswith(token(1).encode())
    lot.is_true()


@pytest.mark.parametrize(
    "effects",
    [
        [("P", "b", element(9), "")],  # the lane takes b for parked, Redis does not
        [("P", "a", element(9), "why")],  # and the other way round
        [("P", "b", element(8), "why"), ("P", "b", element(9), "why")],
        [("U", "a", token(2))],  # not the oldest
        [("U", "a", token(1, 1))],  # the oldest, but mended since
        [("U", "a", "1-0")],  # a part of a token
        [("U", "a", token(1)), ("U", "a", token(1))],
        [("U", "b", token(1))],
        [("F", "a", token(2), "why")],
        [("U", "a", token(1)), ("U", "a", token(2)), ("P", "a", element(9), "")],  # open by then
    ],
)
def test_what_is_not_as_it_was_read_is_refused(lot: Lot, effects: list[tuple[str, ...]]) -> None:
    lot.commit(("P", "a", element(1), "why"), ("P", "a", element(2), ""))
    assert lot.refused(*effects)[0] == "PARKED"
    lot.is_true()


def test_a_stranger_s_key_in_the_way_is_refused(lot: Lot) -> None:
    lot.part.client.set(lot.list("a"), "x")
    assert lot.refused(("P", "a", element(1), "why")) == ["TYPE", lot.list("a")]
    lot.part.client.set(lot.parked, "x")
    assert lot.refused(("P", "b", element(1), "why")) == ["TYPE", lot.parked]


def test_an_operator_mends_and_skips_the_oldest_that_he_saw(lot: Lot) -> None:
    lot.commit(("P", "a", element(1), "why"), ("P", "a", element(2), ""))
    before = lot.part.dump()
    assert lot.operate("parked_replay", "a", token(2), "{}", "") == ["CHANGED"]
    assert lot.operate("parked_replay", "b", "", "{}", "") == ["CLEAR"]
    assert lot.operate("parked_skip", "a", token(2), "{}", "data", "1", more=(lot.part.out,)) == ["CHANGED"]
    assert lot.operate("parked_skip", "b", token(1), "{}", "data", "1", more=(lot.part.out,)) == ["CLEAR"]
    assert lot.part.dump() == before
    assert lot.operate("parked_replay", "a", token(1), "{}", element(1, 1)) == ["OK", 2]
    lot.is_true()
    assert lot.refused(("U", "a", token(1)))[0] == "PARKED", "a replay under way must not take it for the old one"
    assert lot.operate("parked_skip", "a", token(1, 1), "{}", "data", "1", more=(lot.part.out,)) == ["OK", 1]
    assert lot.part.outputs() == [{"data": "1"}]
    lot.is_true()
    assert lot.operate("parked_skip", "a", token(2), "{}", "data", "2", more=(lot.part.out,)) == ["OK", 0]
    assert lot.books() == (0, 0, 0)
    lot.is_true()


def test_a_dead_letter_comes_back_once(lot: Lot) -> None:
    def give(mark: str, number: int, most: int = 5, size: int = 10_000) -> Any:
        return lot.operate(
            "letter_return", "a", mark, "{}", element(number), "why", most, size, more=(lot.returned,)
        )  # fmt: skip

    assert give("d:0:1-0", 1) == ["OK", 1]
    before = lot.part.dump()
    assert give("d:0:1-0", 1) == ["DONE"]
    assert give("d:0:2-0", 2, most=1) == ["FULL"]
    assert give("d:0:2-0", 2, size=lot.books()[2]) == ["FULL"]
    assert lot.part.dump() == before
    assert give("d:0:2-0", 2) == ["OK", 2]
    assert lot.part.client.hkeys(lot.replaying) == [b"a"]
    lot.is_true()


def test_a_death_in_a_replay_is_charged_to_the_replay(lot: Lot) -> None:
    part = lot.part
    before = part.hash()
    assert part.release(lot.epoch, 7, 0, 0, sure=False, death="killed") == 1
    own = part.hash()
    assert (own["replay_tries"], own["replay_death"], own.get("replay_sure")) == ("1", "killed", None)
    assert (own.get("tries"), own.get("suspect")) == (before.get("tries"), before.get("suspect")), (
        "no event pays for it"
    )
    epoch = part.acquire(8)[1]
    assert part.release(epoch, 8, 0, 0, sure=True, death="again") == 1
    assert (part.hash()["replay_tries"], part.hash()["replay_sure"]) == ("2", "1")


def test_the_cursor_does_not_go_back_behind_parked_events(lot: Lot) -> None:
    part = lot.part
    ids = part.add(3)
    assert part.commit(lot.epoch, 7, 1, "0-0", ids[1], 2) == ["OK"]
    lot.seq, lot.cursor = 1, ids[1]
    lot.commit(("P", "a", element(1), "why"))
    before = part.dump()
    seek = [part.own, part.events]
    assert part.run("cursor_seek", seek, [ids[0], 1, PROCESSOR, 3, 0]) == ["PARKED", "1"]
    assert part.dump() == before
    assert part.run("cursor_seek", seek, [ids[2], 3, PROCESSOR, 3, 0])[0] == "OK"


def test_status_reads_how_much_is_parked_and_why(lot: Lot) -> None:
    lot.commit(("P", "a", element(1), '{"message":"first"}'), ("P", "b", element(2), '{"message":"second"}'))
    own = lot.part.run("partition_survey", [lot.part.events, lot.part.own, lot.parked], [])[3]
    assert own[6:] == ["2", "2", '{"message":"first"}']


def test_a_state_expires(lot: Lot) -> None:
    name = f"{lot.part.tag}:s"
    reply = lot.part.commit(lot.epoch, 7, 1, "0-0", "0-0", 0, names=[name], effects=["T", 3, '{"n":1}', 60_000])
    assert reply == ["OK"]
    assert lot.part.client.get(name) == b'{"n":1}'
    assert 0 < lot.part.client.pttl(name) <= 60_000


def test_any_sequence_of_calls_keeps_books_and_order(lot: Lot) -> None:
    """Against a model: a list per key, and who is parked."""
    dice = random.Random(5)
    model: dict[str, list[int]] = {}
    number = 0
    for _ in range(300):
        effects: list[tuple[str, ...]] = []
        for _ in range(dice.randint(1, 4)):
            key = dice.choice("abc")
            number += 1
            if dice.random() < 0.5:
                effects.append(("P", key, element(number), "" if key in model else json.dumps({"n": number})))
                model.setdefault(key, []).append(number)
            elif key in model and not any(each[0] == "P" and each[1] == key for each in effects):
                effects.append(("U", key, token(model[key].pop(0))))
                if not model[key]:
                    del model[key]
        assert lot.commit(*effects) == ["OK"]
        if model and dice.random() < 0.2:
            key = dice.choice(sorted(model))
            assert lot.operate("parked_replay", key, "", "{}", "")[0] == "OK"
        if model and dice.random() < 0.1:
            key = dice.choice(sorted(model))
            head = token(model[key].pop(0))
            assert lot.operate("parked_skip", key, head, "{}", "data", "1", more=(lot.part.out,))[0] == "OK"
            if not model[key]:
                del model[key]
        lot.is_true()
    stored = {
        key.decode(): [int(each.split(b"-")[0]) for each in lot.part.client.lrange(lot.list(key.decode()), 0, -1)]
        for key in lot.part.client.hkeys(lot.parked)
    }
    assert stored == model
