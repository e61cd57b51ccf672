"""Completion scripts, and what they complete."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Outcome


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str, run: Callable[..., Outcome]) -> None:
    outcome = run("completion", shell)
    assert outcome.code == 0
    assert f"_RUNNELCTL_COMPLETE={shell}_complete" in outcome.out


def test_bash_takes_its_script(run: Callable[..., Outcome]) -> None:
    script = run("completion", "bash").out
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_another_shell_is_named(run: Callable[..., Outcome]) -> None:
    outcome = run("completion", "tcsh")
    assert outcome.code == 2
    assert "tcsh" in outcome.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("runnelctl se", {"seek", "send"}),
        ("runnelctl send o", {"orders", "others"}),
        ("runnelctl pause ", {"billing"}),
        ("runnelctl send -t gone.yaml o", set()),
        ("runnelctl status --wi", {"--wide"}),
    ],
)
def test_what_is_completed(
    words: str,
    expected: set[str],
    run: Callable[..., Outcome],
    write: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(
        "topology.yaml",
        "name: shop\nstreams: {orders: {partitions: 1}, others: {partitions: 1}, x: {partitions: 1}}\n"
        'processors: {billing: {stream: orders, handler: "a:b"}}\n',
    )
    monkeypatch.setenv("_RUNNELCTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    found = {line.partition(",")[2] for line in run().out.splitlines() if line}
    assert found == expected
