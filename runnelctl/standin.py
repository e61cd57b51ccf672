"""Lets a module that says `from runnel import App` be imported where Runnel is not installed.

A finder at the very end of `sys.meta_path`: an installed Runnel is found before it. It answers for `runnel` and its
public submodules with the modules of `runnelctl.runnel`, which have the same names and write down what the decorators
say instead of running it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NAME = "runnel"
_HOME = f"{__name__.rpartition('.')[0]}.{NAME}"


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != NAME and not fullname.startswith(f"{NAME}."):
            return None
        try:
            importlib.import_module(_HOME + fullname.removeprefix(NAME))
        except ModuleNotFoundError:
            return None  # the stand-in has no such part: the user's import fails as it should
        return ModuleSpec(fullname, self, is_package=fullname == NAME)

    def exec_module(self, module: ModuleType) -> None:
        original = importlib.import_module(_HOME + module.__name__.removeprefix(NAME))
        module.__doc__ = original.__doc__
        module.__dict__.update({name: value for name, value in vars(original).items() if not name.startswith("__")})


_finder = _Finder()


def install() -> None:
    """Answer for `runnel` from now on. May be called again."""
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)


def is_installed() -> bool:
    """Whether a real Runnel is there, which the stand-in gives way to."""
    module = sys.modules.get(NAME)
    if module is not None:
        return getattr(module, "__spec__", None) is None or module.__spec__.loader is not _finder  # type: ignore[union-attr]
    return any(
        finder is not _finder and getattr(finder, "find_spec", None) is not None and finder.find_spec(NAME, None)
        for finder in sys.meta_path
    )
