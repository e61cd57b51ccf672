"""Testing handlers without Redis or processes: a `Harness` in this process, fixtures for pytest, cases in YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runnelctl.testing.clock import Stuck
    from runnelctl.testing.harness import Harness

#: Imported on first use: pytest loads the plugin in this package for every project of an environment.
_HOMES = {"Harness": "runnelctl.testing.harness", "Stuck": "runnelctl.testing.clock"}

__all__ = ["Harness", "Stuck"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'runnelctl.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
