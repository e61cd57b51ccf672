"""Only the user's frames are left of a traceback."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from runnelctl import errors, handling
from runnelctl.core.model import Stream
from runnelctl.records import Codec
from runnelctl.runtime import tracebacks


def test_our_frames_are_left_out_below_the_users() -> None:
    with pytest.raises(errors.RecordError) as caught:
        Codec(Stream(name="orders", partitions=1)).decode(b"nope")
    text = tracebacks.text(caught.value)
    assert Path(__file__).name in text
    assert "runnelctl/records.py" not in text
    assert "RecordError: not JSON" in text


def test_without_a_frame_of_the_users_the_last_line_is_left() -> None:
    assert tracebacks.text(errors.RecordError("no key")) == "runnelctl.errors.RecordError: no key\n"


def test_what_an_import_raised_shows_the_module_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unlucky_module.py").write_text("raise KeyError('URL')\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(errors.HandlerError) as caught:
        handling.resolve("unlucky_module:charge")
    assert caught.value.__cause__ is not None
    text = tracebacks.text(caught.value.__cause__)
    assert "unlucky_module.py" in text
    assert "importlib" not in text
    assert "handling.py" not in text


def test_causes_and_groups_are_trimmed_too_and_a_loop_of_them_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "first" in tracebacks.text(first)
    assert "inner" in tracebacks.text(ExceptionGroup("outer", [ValueError("inner")]))
