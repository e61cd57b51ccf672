"""Scripts as text and digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from runnelctl.store import scripts
from runnelctl.store.scripts import is_noscript, script


def test_a_script_is_its_text_and_its_digest() -> None:
    produce = script("produce")
    assert produce.sha1 == hashlib.sha1(produce.text.encode()).hexdigest()
    assert produce.text.startswith("#!lua\n")
    assert script("produce") is produce
    with pytest.raises(FileNotFoundError):
        script("nosuch")


def test_processes_that_are_forked_later_read_no_script_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(scripts.__file__).parent / "lua"
    scripts.load_all()
    monkeypatch.setattr(scripts.resources, "files", None)  # whoever reads now fails
    for file in folder.glob("*.lua"):
        assert script(file.stem).text == file.read_text()


def test_the_words_of_a_call() -> None:
    produce = script("produce")
    assert produce.by_digest(["k1", "k2"], [1, b"x"]) == ("EVALSHA", produce.sha1, 2, "k1", "k2", 1, b"x")
    assert produce.by_text(["k1"], []) == ("EVAL", produce.text, 1, "k1")


def test_noscript_is_known_in_any_clients_words() -> None:
    assert is_noscript("NOSCRIPT No matching script.")
    assert not is_noscript("OOM command not allowed")
