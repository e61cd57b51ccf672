"""`match`, on dicts and on instances."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from types import SimpleNamespace
from typing import Any

import msgspec
import pydantic
import pytest

from runnelctl.core import matching


class Colour(enum.Enum):
    RED = "red"


class Paid(msgspec.Struct, tag_field="type", tag="OrderPaid", rename="camel"):
    user_country: str
    cents: int = 5
    colour: Colour = Colour.RED


class User(pydantic.BaseModel):
    country: str = pydantic.Field(alias="Country")


@dataclasses.dataclass
class Order:
    user: User
    at: datetime.date
    note: str | None = None


def event(value: Any, **headers: bytes) -> Any:
    return SimpleNamespace(value=value, headers=headers)


def matches(match: dict[str, Any], value: Any, **headers: bytes) -> bool:
    whole = tuple((name, tuple(given if isinstance(given, list) else [given])) for name, given in match.items())
    return matching.compiled(whole)(event(value, **headers))


@pytest.mark.parametrize(
    ("match", "value", "fits"),
    [
        ({"type": ["A", "B"]}, {"type": "B"}, True),
        ({"type": ["A", "B"]}, {"type": "C"}, False),
        ({"type": "A"}, {}, False),
        ({"type": "A"}, "A", False),
        ({"type": "A"}, None, False),
        ({"type": "A"}, {"type": ["A"]}, False),
        ({"type": "A", "user.country": "DE"}, {"type": "A", "user": {"country": "DE"}}, True),
        ({"type": "A", "user.country": "DE"}, {"type": "A", "user": {"country": "AT"}}, False),
        ({"type": "A", "user.country": "DE"}, {"type": "A", "user": "DE"}, False),
        ({"n": 1}, {"n": 1.0}, True),
        ({"n": 1}, {"n": True}, False),
        ({"n": True}, {"n": 1}, False),
        ({"n": [1, True]}, {"n": True}, True),
        ({"n": 1}, {"n": "1"}, False),
        ({"n": None}, {}, True),
        ({"n": None}, {"n": None}, True),
        ({"n": None}, {"n": 0}, False),
    ],
)
def test_plain_records(match: dict[str, Any], value: Any, fits: bool) -> None:
    assert matches(match, value) is fits


def test_instances_go_by_the_names_of_the_wire() -> None:
    paid = Paid("DE")
    assert matches({"type": "OrderPaid", "userCountry": "DE", "colour": "red"}, paid)
    assert not matches({"userCountry": "AT"}, paid)
    assert not matches({"type": "OrderRefunded"}, paid)
    order = Order(User(Country="DE"), datetime.date(2026, 1, 2))
    assert matches({"user.Country": "DE", "at": "2026-01-02", "note": None}, order)
    assert not matches({"user.Country": "AT"}, order)
    assert not matches({"at.year.x": 1}, order)


def test_headers_are_text_and_spare_the_decoding() -> None:
    class Undecodable:
        @property
        def headers(self) -> dict[str, bytes]:
            return {"tenant": b"acme", "n": b"5", "flag": b"true"}

        @property
        def value(self) -> Any:
            raise AssertionError("was decoded")

    def on(**match: Any) -> bool:
        return matching.compiled(tuple((f"h:{name}", (value,)) for name, value in match.items()))(Undecodable())

    assert on(tenant="acme", n=5, flag=True)
    assert not on(tenant="other")
    assert on(gone=None)
    whole = matching.compiled((("type", ("A",)), ("h:tenant", ("other",))))
    assert not whole(Undecodable())
