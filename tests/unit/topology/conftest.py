"""A topology from its text, in a directory of its own, as a user would name it: `topology.yaml`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runnelctl import errors, topology
from runnelctl.core import model


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a file relative to the test's directory, which is the working directory; returns its name."""
    monkeypatch.chdir(tmp_path)

    def writer(text: str | bytes, name: str = "topology.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        path.chmod(0o644)
        return name

    return writer


@pytest.fixture
def load(write: Callable[..., str]) -> Callable[..., model.Topology]:
    """Loads a topology from its text, in an empty environment unless one is given."""

    def loader(text: str, **options: Any) -> model.Topology:
        return topology.load(write(text), **{"environ": {}, **options})

    return loader


@pytest.fixture
def mistakes(write: Callable[..., str]) -> Callable[..., list[str]]:
    """The problems that a text has, as the user reads them."""

    def finder(text: str | bytes, **options: Any) -> list[str]:
        with pytest.raises(errors.TopologyError) as caught:
            topology.load(write(text), **{"environ": {}, **options})
        assert caught.value.exit_code == 2
        assert str(caught.value) == "\n".join(map(str, caught.value.problems))
        return [str(problem) for problem in caught.value.problems]

    return finder
