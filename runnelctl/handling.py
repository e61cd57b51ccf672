"""Finds the handler that a topology names, and reads from its signature how it wants to be called.

Used by `check`, in a child process, and by every slice before it says that it is ready, so both judge alike.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
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

_CONTEXT_NAMES = ("ctx", "context")


@dataclass(frozen=True, slots=True)
class HandlerForm:
    """How to call a handler. `async`: on the event loop, and what it returns is awaited if it can be (a plain wrapper
    around a coroutine function counts as async). `sync`: in a thread. `is_class`: make one instance per slice process,
    without arguments; call its `open(ctx)` and `close()` where it has them, awaiting what they return if it can be."""

    kind: Literal["async", "sync"]
    takes_ctx: bool
    is_class: bool


def put_on_path(pythonpath: Sequence[str]) -> None:
    """Make the topology's `pythonpath` the first entries of sys.path, in its order."""
    sys.path[:] = [*pythonpath, *(entry for entry in sys.path if entry not in pythonpath)]


def resolve(spec: str) -> object:
    """The object that `module:attribute` names, importing the module. Raises HandlerError, with the module's own
    exception as its cause where there is one."""
    module_name, separator, path = spec.partition(":")
    if not separator or not module_name or not path:
        raise HandlerError(f"handler {spec!r} is not of the form module:attribute, such as shop.handlers:charge")
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


def describe(target: object) -> HandlerForm:
    """How `target` wants to be called. Raises HandlerError if it can't be a handler, saying why."""
    if inspect.isclass(target):
        return _describe_class(target)
    if not callable(target):
        raise HandlerError(f"a handler must be callable; this is {_kind(target)}")
    return HandlerForm(_kind_of_call(target), _takes_ctx(target, _name(target)), is_class=False)


def _kind(target: object) -> str:
    return "a module" if isinstance(target, ModuleType) else f"of type {type(target).__name__}"


def _name(target: object) -> str:
    return getattr(target, "__name__", None) or type(target).__name__


def _describe_class(target: type) -> HandlerForm:
    name = target.__name__
    call = inspect.getattr_static(target, "__call__", None)
    if call is None or not any("__call__" in vars(base) for base in target.__mro__):
        raise HandlerError(f"instances of class {name} are not callable: it needs __call__(self, event, ctx)")
    if inspect.isabstract(target):
        raise HandlerError(f"class {name} is abstract")
    if not _accepts(target, 0):
        raise HandlerError(f"class {name} takes arguments when it is made, but a handler class is made without any")
    for method, wanted in (("open", ("ctx",)), ("close", ())):
        found = getattr(target, method, None)
        if found is not None and not (callable(found) and _accepts(_without_self(target, method), len(wanted))):
            raise HandlerError(f"{name}.{method} must be a method that takes ({', '.join(('self', *wanted))})")
    bound = _without_self(target, "__call__")
    return HandlerForm(_kind_of_call(bound), _takes_ctx(bound, f"{name}.__call__"), is_class=True)


def _without_self(owner: type, method: str) -> Callable[..., Any]:
    """The method as an instance would give it, without making an instance: that would run the user's code."""
    found: Callable[..., Any] = getattr(owner, method)
    static = inspect.getattr_static(owner, method)
    return found if isinstance(static, (staticmethod, classmethod)) else functools.partial(found, None)


def _layers(target: Any) -> Iterator[Any]:
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
    for layer in _layers(target):
        if inspect.iscoroutinefunction(layer):
            return "async"
        if inspect.isasyncgenfunction(layer):
            raise HandlerError(f"{_name(target)} is an async generator function; that form is not supported yet")
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
    one, two = _accepts(target, 1), _accepts(target, 2)
    if not one and not two:
        raise HandlerError(
            f"{name} takes ({', '.join(map(str, parameters))}), but is called with (event) or (event, ctx)"
        )
    if not one or not two:
        return two
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return len(positional) < 2 or positional[1].name in _CONTEXT_NAMES


def _accepts(target: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(target).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a C callable that does not tell; for a class made without arguments, that is as good as yes
        return count == 0
    return True


@dataclass(frozen=True, slots=True)
class TaskForm:
    """How to call a task: `async` on the event loop, `sync` in a thread; with ctx, or with nothing."""

    kind: Literal["async", "sync"]
    takes_ctx: bool


def describe_task(target: object) -> TaskForm:
    """How the `run` of a task wants to be called. Raises HandlerError if it can't be one, saying why."""
    if inspect.isclass(target):
        raise HandlerError(f"a task must be a function; {target.__name__} is a class")
    if not callable(target):
        raise HandlerError(f"a task must be callable; this is {_kind(target)}")
    name = _name(target)
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (ValueError, TypeError):
        raise HandlerError(f"the signature of {name} can't be read: wrap it in a function of () or (ctx)") from None
    none, one = _accepts(target, 0), _accepts(target, 1)
    if not none and not one:
        raise HandlerError(f"{name} takes ({', '.join(map(str, parameters))}), but a task is called with () or (ctx)")
    first = parameters[0].name if parameters else ""
    return TaskForm(_kind_of_call(target), one and (not none or first in _CONTEXT_NAMES))
