"""The progress bar: nothing off a terminal, nothing in the first second."""

from __future__ import annotations

import io

import pytest

from runnelctl.cli import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Not a fixture: pytest puts its own stderr back between a fixture and its test."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    return terminal


def test_it_draws_on_a_terminal_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = on_terminal(monkeypatch)
    monkeypatch.setattr(progress, "_PATIENCE_S", 0.0)
    with progress.Bar() as bar:
        bar.update("checking", 1, 2)
        bar.update("sending", 2, None)
    assert "sending" in stderr.getvalue()


def test_it_stays_silent_in_the_first_second(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = on_terminal(monkeypatch)
    monkeypatch.setattr(progress, "_PATIENCE_S", 1_000.0)
    with progress.Bar() as bar:
        bar.update("checking", 1, 2)
    assert stderr.getvalue() == ""


def test_it_stays_silent_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = io.StringIO()
    monkeypatch.setattr("sys.stderr", plain)
    monkeypatch.setattr(progress, "_PATIENCE_S", 0.0)
    with progress.Bar() as bar:
        bar.update("checking", 1, 2)
    assert plain.getvalue() == ""
