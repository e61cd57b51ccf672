"""`discover`: files named by globs, as the modules that they are."""

from __future__ import annotations

import glob
import itertools
import os
from pathlib import Path

from runnelctl.topology.nodes import Findings, Scalar, Sequence, beside
from runnelctl.topology.section import Section
from runnelctl.topology.streams import ImportPlace

_MOST = 1_000


def modules(section: Section, pythonpath: tuple[str, ...], file: str, findings: Findings) -> list[ImportPlace]:
    """The modules of the files that `discover` names, in the order of their names. A file has to be below a directory
    of `pythonpath`, or of the topology file where that is not given: else no import would find it."""
    node = section.node("discover")
    found: dict[str, ImportPlace] = {}
    for item in node.items if isinstance(node, Sequence) else ():
        if not isinstance(item, Scalar) or item.wrong:
            continue
        files = _matching(item, findings)
        if files == []:
            findings.wrong(item, f"discover: {item.text} matches no Python file")
        for path in files or ():
            name = _module(path, pythonpath or (beside(file, "."),))
            if name is None:
                where = ", ".join(pythonpath) or "the directory of this file"
                findings.wrong(
                    item, f"discover: {path} is no module below pythonpath ({where}), so it can't be imported"
                )
                break
            found.setdefault(name, ImportPlace("discover", name, item.place))
    return list(found.values())


def _matching(item: Scalar, findings: Findings) -> list[str] | None:
    """Absolute paths; None if the pattern can't be read, which was reported."""
    folder = beside(item.place.file, ".")
    try:
        names = itertools.islice(glob.iglob(item.text, root_dir=folder, recursive=True), _MOST)  # noqa: PTH207
        paths = sorted(os.path.normpath(Path(folder) / name) for name in names)
    except (OSError, ValueError) as error:
        findings.wrong(item, f"discover: {error}")
        return None
    return [path for path in paths if path.endswith(".py") and Path(path).is_file()]


def _module(path: str, pythonpath: tuple[str, ...]) -> str | None:
    for root in pythonpath:
        try:
            parts = list(Path(path).relative_to(os.path.normpath(root)).with_suffix("").parts)
        except ValueError:
            continue
        if parts and parts[-1] == "__init__":
            parts.pop()
        if parts and all(part.isidentifier() for part in parts):
            return ".".join(parts)
    return None
