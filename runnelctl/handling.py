"""Finds the handler that a topology names, and reads from its signature how it wants to be called.

Used by `check`, in a child process, and by every slice before it says that it is ready, so both judge alike.
"""

from __future__ import annotations

import dis
import functools
import importlib
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from runnelctl import standin
from runnelctl.errors import HandlerError

#: What loops over events gets them one after the other.
NEEDS_ORDER = (
    "an iterator handler, or middleware that loops over events, needs order: partition; "
    "with order: key events are handled side by side"
)
_CONTEXT_NAMES = ("ctx", "context")
_ITERATED = re.compile(r"\b(Events|AsyncIterator|AsyncIterable|AsyncGenerator)\b")
_LISTED = re.compile(r"\b(list|List|Sequence|tuple)\b")


@dataclass(frozen=True, slots=True)
class HandlerForm:
    """How to call a handler. `async`: on the event loop, and what it returns is awaited if it can be (a plain wrapper
    around a coroutine function counts as async). `sync`: in a thread. `events`: once per partition, with an iterator of
    its events. `is_class`: make one instance per slice process, without arguments; call its `open(ctx)` and `close()`
    where it has them, awaiting what they return if it can be."""

    kind: Literal["async", "sync", "events"]
    takes_ctx: bool
    is_class: bool


def put_on_path(pythonpath: Sequence[str]) -> None:
    """Make the topology's `pythonpath` the first entries of sys.path, in its order."""
    sys.path[:] = [*pythonpath, *(entry for entry in sys.path if entry not in pythonpath)]


def resolve(spec: str, what: str = "handler") -> object:
    """The object that `module:attribute` names, importing the module. Raises HandlerError, with the module's own
    exception as its cause where there is one. `what` it is to be, for messages."""
    module_name, separator, path = spec.partition(":")
    if not separator or not module_name or not path:
        raise HandlerError(f"{what} {spec!r} is not of the form module:attribute, such as shop.handlers:charge")
    standin.install()
    target: Any = module(module_name)
    walked = module_name
    for name in path.split("."):
        owner = target
        try:
            target = getattr(owner, name)
        except AttributeError:
            kind = "module" if isinstance(owner, ModuleType) else "object"
            raise HandlerError(f"{kind} {walked} has no {name!r}{_near(name, owner)}") from None
        except HandlerError:
            raise
        except Exception as error:
            raise HandlerError(f"looking up {name!r} in {walked} raised {_worded(error)}") from error
        walked = f"{walked}.{name}"
        if inspect.isclass(owner) and inspect.isfunction(inspect.getattr_static(owner, name, None)):
            raise HandlerError(f"{spec} is a method and has no instance: name the class, or an instance's method")
    return target


def module(name: str) -> ModuleType:
    """The module `name`, imported. Raises HandlerError, with the module's own exception as its cause."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            inside = f" ({error.name} is not there)" if error.name != name else ""
            raise HandlerError(f"no module named {name}{inside}; is its directory in pythonpath?") from error
        raise HandlerError(f"module {name} raised while importing: {_worded(error)}") from error
    except (Exception, SystemExit) as error:
        raise HandlerError(f"module {name} raised while importing: {_worded(error)}") from error


def _worded(error: BaseException) -> str:
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1][:300]
    place = innermost(error)
    return f"{text} ({place})" if place else text


def innermost(error: BaseException) -> str | None:
    """`file:line` of the user's own code nearest to where the exception was raised; None if none was involved."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    paths = sysconfig.get_paths()
    installed = (paths["purelib"], paths["platlib"])
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    ours = [frame for frame in frames if not _is_below(frame.filename, (str(Path(__file__).parent),))]
    theirs = [frame for frame in ours if _is_below(frame.filename, installed)]
    own = [frame for frame in ours if not _is_below(frame.filename, (*installed, paths["stdlib"], paths["platstdlib"]))]
    nearest = own or theirs  # a handler may itself be installed
    return f"{nearest[-1].filename}:{nearest[-1].lineno}" if nearest else None


def _is_below(filename: str, folders: Sequence[str]) -> bool:
    return any(filename.startswith(folder + os.sep) for folder in folders)


def _near(name: str, owner: object) -> str:
    import difflib

    names = [each for each in dir(owner) if not each.startswith("_")]
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def describe(target: object, batch: bool = False) -> HandlerForm:
    """How `target` wants to be called; with `batch`, it gets lists. Raises HandlerError if it can't be a handler,
    saying why."""
    if inspect.isclass(target):
        return _describe_class(target, batch)
    if not callable(target):
        raise HandlerError(f"a handler must be callable; this is {_kind(target)}")
    name = _name(target)
    return HandlerForm(_form_of_call(target, name, batch), _takes_ctx(target, name), is_class=False)


def _form_of_call(target: Any, name: str, batch: bool) -> Literal["async", "sync", "events"]:
    """A coroutine function whose first parameter is called `events`, or annotated as something to iterate over, is of
    the iterator form, unless the processor has `batch:`."""
    kind = _kind_of_call(target)
    if kind == "sync" or batch:
        return kind
    first = _first_parameter(target)
    if first is None:
        return kind
    annotation = "" if first.annotation is first.empty else inspect.formatannotation(first.annotation)
    if _ITERATED.search(annotation):
        return "events"
    if first.name != "events":
        return kind
    if _LISTED.search(annotation):
        raise HandlerError(
            f"{name} takes a list ({first}), but its processor has no `batch:`. With batch it gets lists; without, a "
            "first parameter called events is an iterator (async for event in events)"
        )
    return "events"


def doubt(target: object, batch: bool) -> str | None:
    """What is odd about a handler that is not wrong: a sentence with the form that it was taken for; None if clear."""
    call = _without_self(target, "__call__") if inspect.isclass(target) else target
    first = _first_parameter(call)
    if first is None or first.name != "events":
        return None
    loops = _loops(call)
    if describe(target, batch).kind == "events":
        if not loops:
            return (
                f"{_name(target)} is taken for the iterator form, since its parameter is called events: it is called "
                "once per partition, and has no `async for`. If it is to get one event at a time, call it event; for "
                "lists, add batch:"
            )
    elif batch and loops:
        return f"{_name(target)} gets a list, since its processor has batch:, and has an `async for`, which needs none"
    elif not batch:
        return (
            f"{_name(target)} is a plain function: it gets one event at a time, though its parameter is called events. "
            "For lists, add batch:; the iterator form (async for event in events) is a coroutine function"
        )
    return None


def _first_parameter(target: Any) -> inspect.Parameter | None:
    try:
        parameters = inspect.signature(target).parameters.values()
    except (ValueError, TypeError):
        return None
    return next((each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)), None)


def _loops(target: Any) -> bool:
    """Whether the code of a handler has an `async for`, or looks as if it did so by other means."""
    for layer in layers_of(target):
        code = getattr(layer, "__code__", None)
        if code is not None:
            found = {each.opname for each in dis.get_instructions(code)}
            if "GET_AITER" in found or {"anext", "aiter", "take", "records"} & {*code.co_names}:
                return True
    return False


def _kind(target: object) -> str:
    return "a module" if isinstance(target, ModuleType) else f"of type {type(target).__name__}"


def _name(target: object) -> str:
    return getattr(target, "__name__", None) or type(target).__name__


def _describe_class(target: type, batch: bool) -> HandlerForm:
    name = target.__name__
    call = inspect.getattr_static(target, "__call__", None)
    if call is None or not any("__call__" in vars(base) for base in target.__mro__):
        raise HandlerError(f"instances of class {name} are not callable: it needs __call__(self, event, ctx)")
    if inspect.isabstract(target):
        raise HandlerError(f"class {name} is abstract")
    if not accepts(target, 0):
        raise HandlerError(f"class {name} takes arguments when it is made, but a handler class is made without any")
    for method, wanted in (("open", ("ctx",)), ("close", ())):
        found = getattr(target, method, None)
        if found is not None and not (callable(found) and accepts(_without_self(target, method), len(wanted))):
            raise HandlerError(f"{name}.{method} must be a method that takes ({', '.join(('self', *wanted))})")
    bound = _without_self(target, "__call__")
    called = f"{name}.__call__"
    return HandlerForm(_form_of_call(bound, called, batch), _takes_ctx(bound, called), is_class=True)


def _without_self(owner: type, method: str) -> Callable[..., Any]:
    """The method as an instance would give it, without making an instance: that would run the user's code."""
    found: Callable[..., Any] = getattr(owner, method)
    static = inspect.getattr_static(owner, method)
    return found if isinstance(static, (staticmethod, classmethod)) else functools.partial(found, None)


def layers_of(target: Any) -> Iterator[Any]:
    """The callable and what it wraps: partials, functools.wraps, bound methods and `__call__`, outermost first."""
    for _ in range(100):
        yield target
        if isinstance(target, functools.partial):
            target = target.func
        elif inspect.ismethod(target):
            target = target.__func__
        elif hasattr(target, "__wrapped__"):
            target = target.__wrapped__
        elif not inspect.isroutine(target) and not inspect.isclass(target) and callable(target):
            target = type(target).__call__
        else:
            return


def _kind_of_call(target: Any) -> Literal["async", "sync"]:
    for layer in layers_of(target):
        if inspect.iscoroutinefunction(layer):
            return "async"
        if inspect.isasyncgenfunction(layer):
            raise HandlerError(f"{_name(target)} is an async generator function (has a yield), which is for middleware")
        if inspect.isgeneratorfunction(layer):
            raise HandlerError(
                f"{_name(target)} is a generator function (it has a yield), so calling it would do nothing"
            )
    return "sync"


def _takes_ctx(target: Callable[..., Any], name: str) -> bool:
    """Whether to pass ctx as the second argument. A second parameter with a default is the handler's own, unless it
    is called ctx."""
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (ValueError, TypeError):
        raise HandlerError(f"the signature of {name} can't be read: wrap it in a function of (event, ctx)") from None
    one, two = accepts(target, 1), accepts(target, 2)
    if not one and not two:
        raise HandlerError(
            f"{name} takes ({', '.join(map(str, parameters))}), but is called with (event) or (event, ctx)"
        )
    return two and (not one or second_is_context(target))


def second_is_context(target: Callable[..., Any]) -> bool:
    """Whether a second parameter that may be left out is meant for ctx, by its name; `*args` takes whatever comes."""
    parameters = inspect.signature(target).parameters.values()
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return len(positional) < 2 or positional[1].name in _CONTEXT_NAMES


def accepts(target: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many positional arguments."""
    try:
        inspect.signature(target).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a C callable that does not tell; for a class made without arguments, that is as good as yes
        return count == 0
    return True
