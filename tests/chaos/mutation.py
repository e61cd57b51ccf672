"""Deliberate defects: a copy of the package with a line or two changed, to see that the checker finds it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.backend import ROOT


@dataclass(frozen=True, slots=True)
class Edit:
    """`old`, which must be there exactly once, becomes `new`."""

    file: str
    old: str
    new: str


MUTANTS: dict[str, tuple[Edit, ...]] = {}


def made(name: str, directory: Path) -> Path:
    """A directory to put on the path before the repository, with the package as this mutant has it."""
    copy = directory / "runnelctl"
    shutil.copytree(ROOT / "runnelctl", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in MUTANTS[name]:
        file = copy / edit.file
        file.write_text(edited(file.read_text(), edit))
    return directory


def edited(text: str, edit: Edit) -> str:
    """Raises ValueError if the text to change is not there just once: then the mutant has to follow the code."""
    if text.count(edit.old) != 1:
        raise ValueError(f"{edit.file} has this {text.count(edit.old)} times, not once: {edit.old!r}")
    return text.replace(edit.old, edit.new)
