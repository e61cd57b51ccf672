"""States with a time to live: gone here when they are gone in Redis, on a clock that the test turns."""

from __future__ import annotations

from runnelctl.runtime.states import States


class Desk:
    def __init__(self, ttl_ms: int | None = 1_000) -> None:
        self.now = 0.0
        self.fetched: list[str] = []
        self.states = States(lambda key: f"s:{key}", self._fetch, ttl_ms, lambda: self.now)

    def _fetch(self, name: str) -> bytes | None:
        self.fetched.append(name)
        return b'{"n":5}'

    def use(self, key: str = "a") -> dict[str, object]:
        self.states.begin(key)
        return self.states.open(key)

    def done(self, key: str = "a") -> object:
        effects = self.states.settled({key: self.states.open(key)})
        return effects[0] if effects else None


def test_each_use_writes_it_anew_so_that_it_lives_on() -> None:
    desk = Desk()
    assert desk.states.missing({"a"}) == ["a"]
    desk.states.fill("a", b'{"n":1}', 400)
    assert desk.use() == {"n": 1}
    assert desk.done() == ("T", "s:a", (b'{"n":1}', 1_000))
    desk.now = 0.9
    assert desk.use() == {"n": 1}
    desk.done()
    desk.now = 1.8
    assert desk.use() == {"n": 1}


def test_it_is_gone_when_its_time_is_over() -> None:
    desk = Desk()
    desk.states.fill("a", b'{"n":1}', 400)
    desk.now = 0.4
    assert desk.use() == {}
    assert desk.done() is None, "an empty mapping over nothing is nothing to write"
    desk.use()["n"] = 2
    assert desk.done() == ("T", "s:a", (b'{"n":2}', 1_000))
    desk.now = 1.4
    assert desk.use() == {}
    assert desk.fetched == [], "Redis need not be asked"


def test_an_event_keeps_the_mapping_that_it_opened() -> None:
    desk = Desk()
    desk.states.fill("a", b'{"n":1}', 400)
    state = desk.use()
    desk.now = 9.0
    assert desk.states.open("a") is state


def test_one_that_was_stored_before_there_was_a_ttl_gets_one() -> None:
    desk = Desk()
    desk.states.fill("a", b'{"n":1}', -1)
    desk.now = 9.0
    assert desk.use() == {"n": 1}
    assert desk.done() == ("T", "s:a", (b'{"n":1}', 1_000))


def test_a_state_read_on_the_spot_is_read_again_with_its_time() -> None:
    desk = Desk()
    assert desk.use() == {"n": 5}
    desk.states.discard("a")
    assert desk.states.missing({"a"}) == ["a"]
    desk.states.fill("a", None, -2)
    assert desk.use() == {}


def test_an_emptied_one_is_deleted() -> None:
    desk = Desk()
    desk.states.fill("a", b'{"n":1}', 400)
    desk.use().clear()
    assert desk.done() == ("D", "s:a", ())


def test_without_a_ttl_nothing_changes() -> None:
    desk = Desk(None)
    desk.states.fill("a", b'{"n":1}')
    desk.now = 1e9
    assert desk.use() == {"n": 1}
    assert desk.done() is None
