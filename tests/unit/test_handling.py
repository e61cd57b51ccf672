"""Which objects are handlers, how they are called, and what is said of the others."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runnelctl import errors, handling
from runnelctl.handling import HandlerForm


def sync_one(event: Any) -> None: ...
def sync_two(event: Any, ctx: Any) -> None: ...
async def async_one(event: Any) -> None: ...
async def async_two(event: Any, ctx: Any) -> None: ...
def own_default(event: Any, retries: int = 3) -> None: ...
def ctx_default(event: Any, ctx: Any = None) -> None: ...
def anything(*args: Any, **kwargs: Any) -> None: ...
def keyword_default(event: Any, *, verbose: bool = False) -> None: ...
async def injected(database: Any, event: Any, ctx: Any) -> None: ...


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Async:
    async def open(self, ctx: Any) -> None: ...
    async def __call__(self, event: Any, ctx: Any) -> None: ...
    async def close(self) -> None: ...
    async def method(self, event: Any) -> None: ...
    @staticmethod
    def static(event: Any) -> None: ...


class Sync:
    def __call__(self, event: Any) -> None: ...


class Traced:
    @traced
    async def __call__(self, event: Any) -> None: ...


class Inherited(Async):
    pass


GOOD: list[tuple[Any, HandlerForm]] = [
    (sync_one, HandlerForm("sync", False, False)),
    (sync_two, HandlerForm("sync", True, False)),
    (async_one, HandlerForm("async", False, False)),
    (async_two, HandlerForm("async", True, False)),
    (own_default, HandlerForm("sync", False, False)),
    (ctx_default, HandlerForm("sync", True, False)),
    (anything, HandlerForm("sync", True, False)),
    (keyword_default, HandlerForm("sync", False, False)),
    (functools.partial(injected, None), HandlerForm("async", True, False)),
    (functools.partial(functools.partial(injected, None)), HandlerForm("async", True, False)),
    (functools.partial(sync_two, ctx=None), HandlerForm("sync", False, False)),
    (traced(async_one), HandlerForm("async", False, False)),
    (traced(traced(sync_two)), HandlerForm("sync", True, False)),
    (functools.lru_cache(sync_one), HandlerForm("sync", False, False)),
    (lambda event: None, HandlerForm("sync", False, False)),
    (Async, HandlerForm("async", True, True)),
    (Sync, HandlerForm("sync", False, True)),
    (Traced, HandlerForm("async", False, True)),
    (Inherited, HandlerForm("async", True, True)),
    (Async(), HandlerForm("async", True, False)),
    (Sync(), HandlerForm("sync", False, False)),
    (Async().method, HandlerForm("async", False, False)),
    (Async.static, HandlerForm("sync", False, False)),
]


@pytest.mark.parametrize(("target", "form"), GOOD, ids=range(len(GOOD)))
def test_handlers(target: Any, form: HandlerForm) -> None:
    assert handling.describe(target) == form


async def asyncgen(events: Any) -> Any:
    yield


def generator(event: Any) -> Iterator[None]:
    yield


def none() -> None: ...
def three(event: Any, ctx: Any, more: Any) -> None: ...
def keyword(event: Any, *, ctx: Any) -> None: ...


class NotCallable:
    pass


class NeedsArguments:
    def __init__(self, url: str) -> None: ...
    def __call__(self, event: Any) -> None: ...


class ThreeArguments:
    def __call__(self, event: Any, ctx: Any, more: Any) -> None: ...


class BadOpen:
    def open(self) -> None: ...
    def __call__(self, event: Any) -> None: ...


class BadClose:
    close = 3

    def __call__(self, event: Any) -> None: ...


BAD: list[tuple[Any, str]] = [
    (3, "a handler must be callable; this is of type int"),
    (sys, "a handler must be callable; this is a module"),
    (asyncgen, "asyncgen is an async generator function (has a yield), which is for middleware"),
    (traced(asyncgen), "(has a yield), which is for middleware"),
    (generator, "generator is a generator function (it has a yield), so calling it would do nothing"),
    (none, "none takes (), but is called with (event) or (event, ctx)"),
    (three, "but is called with (event) or (event, ctx)"),
    (keyword, "but is called with (event) or (event, ctx)"),
    (NotCallable, "instances of class NotCallable are not callable: it needs __call__(self, event, ctx)"),
    (NeedsArguments, "class NeedsArguments takes arguments when it is made"),
    (ThreeArguments, "ThreeArguments.__call__ takes ("),
    (BadOpen, "BadOpen.open must be a method that takes (self, ctx)"),
    (BadClose, "BadClose.close must be a method that takes (self)"),
]


@pytest.mark.parametrize(("target", "sentence"), BAD, ids=range(len(BAD)))
def test_no_handlers(target: Any, sentence: str) -> None:
    with pytest.raises(errors.HandlerError) as caught:
        handling.describe(target)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `shopfront` to import from; forgotten afterwards."""
    package = tmp_path / "shopfront"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", list(sys.path))
    handling.put_on_path([str(tmp_path)])
    assert sys.path[0] == str(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "shopfront"]:
        del sys.modules[name]


def test_resolve_finds_the_object(shop: Path) -> None:
    (shop / "a.py").write_text("class C:\n    x = staticmethod(len)\n    def m(self, event): ...\nc = C()\n")
    assert handling.resolve("shopfront.a:C.x") is len
    assert callable(handling.resolve("shopfront.a:c.m"))
    with pytest.raises(errors.HandlerError, match=r"shopfront.a:C.m is a method and has no instance"):
        handling.resolve("shopfront.a:C.m")


def test_a_missing_module_is_told_from_one_that_misses_something(shop: Path) -> None:
    (shop / "imports.py").write_text("\nimport no_such_thing\n")
    with pytest.raises(
        errors.HandlerError, match=r"^no module named shopfront.gone; is its directory in pythonpath\?"
    ) as caught:
        handling.resolve("shopfront.gone:x")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    with pytest.raises(errors.HandlerError, match=r"no module named zzz.gone \(zzz is not there\)"):
        handling.resolve("zzz.gone:x")
    with pytest.raises(errors.HandlerError) as caught:
        handling.resolve("shopfront.imports:x")
    expected = f"ModuleNotFoundError: No module named 'no_such_thing' ({shop / 'imports.py'}:2)"
    assert str(caught.value) == f"module shopfront.imports raised while importing: {expected}"


RAISING = {
    "import json\njson.loads('{')\n": "json.decoder.JSONDecodeError",
    "\nraise SystemExit(3)\n": "SystemExit: 3",
    "x = 1\nx =\n": "SyntaxError: invalid syntax",
    "def f():\n    1 / 0\nf()\n": "ZeroDivisionError: division by zero",
}


@pytest.mark.parametrize("source", RAISING)
def test_a_module_that_raises_names_the_line_of_the_user(source: str, shop: Path) -> None:
    (shop / "boom.py").write_text(source)
    with pytest.raises(errors.HandlerError) as caught:
        handling.resolve("shopfront.boom:x")
    assert f"raised while importing: {RAISING[source]}" in str(caught.value)
    assert f"({shop / 'boom.py'}:2)" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_missing_attribute(shop: Path) -> None:
    (shop / "b.py").write_text(
        "def charge(event): ...\ndef __getattr__(name):\n    raise ValueError if name == 'v' else AttributeError\n"
    )
    with pytest.raises(errors.HandlerError, match=r"module shopfront.b has no 'charg' \(did you mean 'charge'\?\)"):
        handling.resolve("shopfront.b:charg")
    with pytest.raises(errors.HandlerError, match=r"looking up 'v' in shopfront.b raised ValueError"):
        handling.resolve("shopfront.b:v")
    for spec in ("a", "a:", ":a", ""):
        with pytest.raises(errors.HandlerError, match="not of the form module:attribute"):
            handling.resolve(spec)
