"""Calls the command line in this process, as `main` would, in a directory of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from runnelctl.cli import main


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS", "NAME", "LEASE_TTL", "DRAIN", "TOPOLOGY"):
        monkeypatch.delenv(f"RUNNELCTL_{name}", raising=False)

    def runner(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            main.main(list(arguments))
        out, err = capfd.readouterr()
        assert isinstance(caught.value.code, int)
        return Outcome(caught.value.code, out, err)

    return runner


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def writer(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return path

    return writer
