"""One mistake and the commands that meet it: what each must say, how it must end, and what it may not cost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.process.ups import environment

TOPOLOGY = """\
name: {name}
redis: {redis}
pythonpath: [.]
streams:
  orders: {{partitions: 2, key: id}}
processors:
  billing: {{stream: orders, handler: "handlers:charge", processes: 1, retry: {{attempts: 2, backoff: 1ms}}}}
lease: {{ttl: 1s}}
"""
HANDLERS = "async def charge(event):\n    pass\n"


@dataclass(frozen=True)
class Case:
    """One mistake: what is done to the directory, the commands that meet it with their exit code, and what they say."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    code: int
    says: tuple[str, ...]
    edit: tuple[tuple[str, str], ...] = ()  # in topology.yaml: (text, in its place)
    whole: bytes | None = None  # topology.yaml from end to end
    files: dict[str, bytes] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""

    def __str__(self) -> str:
        return self.name


def run(directory: Path, case: Case, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "runnelctl", *arguments], cwd=directory, env=environment(**case.env), input=case.stdin,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip


def meet(directory: Path, case: Case, stored: Callable[[], Any]) -> None:
    """Do what the case says, and hold every command against it."""
    topology = directory / "topology.yaml"
    text = topology.read_text()
    for old, new in case.edit:
        assert old in text
        text = text.replace(old, new)
    topology.write_bytes(text.encode() if case.whole is None else case.whole)
    if case.whole == b"\0gone":
        topology.unlink()
    for name, content in case.files.items():
        (directory / name).write_bytes(content)
    before = stored()
    for arguments in case.commands:
        ended = run(directory, case, arguments)
        said = ended.stderr.decode("utf-8", "replace")
        assert ended.returncode == case.code, said
        for text in case.says:
            assert text in said, said
        own = [line for line in said.splitlines() if "/runnelctl/" in line and "Current thread" not in said]
        assert not own, "a traceback shows the user's lines and none of ours"
        assert "defect" not in said and "canary" not in said
        assert len(said) < 20_000
    assert stored() == before
