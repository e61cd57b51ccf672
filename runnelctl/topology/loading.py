"""Loads a topology file: read, override, interpolate, check the shape, include, build. All mistakes at once."""

from __future__ import annotations

import glob
import itertools
import os
import stat
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runnelctl import errors
from runnelctl.core import model
from runnelctl.topology import building, interpolation, reading, shape
from runnelctl.topology.nodes import Findings, Mapping, Node, Place, Scalar, Sequence, TooManyFindings
from runnelctl.topology.streams import ImportPlace

#: What flags and the environment may override, by its path in the file.
OVERRIDES = {
    "name": "RUNNELCTL_NAME",
    "redis": "RUNNELCTL_REDIS",
    "lease.ttl": "RUNNELCTL_LEASE_TTL",
    "drain": "RUNNELCTL_DRAIN",
    "start": "RUNNELCTL_START",
    "log.level": "RUNNELCTL_LOG_LEVEL",
    "log.format": "RUNNELCTL_LOG_FORMAT",
}

_MOST_INCLUDED = 1_000


@dataclass(frozen=True, slots=True)
class Examined:
    """All there is to say about a file. `topology` is None where there are problems; the handlers and the python path
    that could be read are there even then, so that `check` can look at them too."""

    topology: model.Topology | None
    problems: list[errors.Problem]
    warnings: list[errors.Problem]
    handlers: list[building.CodePlace]
    pythonpath: tuple[str, ...]
    imports: list[ImportPlace]


def load(
    file: str | Path, *, environ: Dict[str, str] | None = None, overrides: Dict[str, Any] | None = None
) -> model.Topology:
    """The topology in `file`, with `overrides` (from flags; None counts as not given) before RUNNELCTL_... variables
    in `environ` (default: this process's) before the file. Raises TopologyError with every mistake at once."""
    return load_with_warnings(file, environ=environ, overrides=overrides)[0]


def load_with_warnings(
    file: str | Path, *, environ: Dict[str, str] | None = None, overrides: Dict[str, Any] | None = None
) -> tuple[model.Topology, list[errors.Problem]]:
    """As `load`, and what is odd about the file without being wrong."""
    examined = examine(file, environ=environ, overrides=overrides)
    if examined.topology is None:
        raise errors.TopologyError(examined.problems)
    return examined.topology, examined.warnings


def examine(
    file: str | Path, *, environ: Dict[str, str] | None = None, overrides: Dict[str, Any] | None = None
) -> Examined:
    """As `load`, but mistakes are part of the answer instead of an exception."""
    findings, name = Findings(), str(file)
    topology: model.Topology | None = None
    handlers: list[building.CodePlace] = []
    imports: list[ImportPlace] = []
    try:
        root = _tree(name, os.environ if environ is None else environ, overrides or {}, findings)
        topology, handlers = building.topology(root, name, findings)
        imports = building.import_places(root, name, topology.pythonpath)
        _warn_of_permissions(name, findings)
    except reading.Unreadable:
        pass
    except TooManyFindings:
        findings.problems.append(errors.Problem(name, 1, 1, "so many mistakes that the rest are not listed"))
    pythonpath = topology.pythonpath if topology else ()
    return Examined(
        None if findings.problems else topology,
        sorted(findings.problems),
        sorted(findings.warnings),
        handlers,
        pythonpath,
        imports,
    )


def _tree(file: str, environ: Dict[str, str], overrides: Dict[str, Any], findings: Findings) -> Mapping:
    """The whole tree, checked for shape, with what is included merged in."""
    root = reading.read(file, findings)
    _override(root, environ, overrides)
    interpolation.apply(root, environ, findings)
    shape.check(root, shape.published(), "", findings)
    seen = {os.path.realpath(file)}
    for path in _included_files(root, file, findings):
        if os.path.realpath(path) not in seen:
            seen.add(os.path.realpath(path))
            _include(root, path, environ, findings)
    return root


def _override(root: Mapping, environ: Dict[str, str], overrides: Dict[str, Any]) -> None:
    """Put what flags and environment say in the place of what the file says."""
    unknown = set(overrides) - set(OVERRIDES)
    if unknown:
        raise ValueError(f"not among topology.OVERRIDES: {sorted(unknown)}")
    for path, variable in OVERRIDES.items():
        given, origin = overrides.get(path), f"--{path.replace('.', '-')}"
        if given is None:
            given, origin = environ.get(variable) or None, variable
        if given is None:
            continue
        place = Place(root.place.file, 1, 1)
        *sections, key = path.split(".")
        target: Node = root
        for section in sections:
            assert isinstance(target, Mapping)
            if not isinstance(target.entries.get(section), Mapping):
                target.put(section, Mapping(place), place)
            target = target.entries[section]
        assert isinstance(target, Mapping)
        target.put(key, Scalar(place, origin=origin, text=str(given), value=str(given), interpolated=True), place)


def _included_files(root: Mapping, file: str, findings: Findings) -> list[str]:
    node = root.entries.get("include")
    folder, paths = Path(file).parent, list[str]()
    for item in node.items if isinstance(node, Sequence) and not node.wrong else ():
        if not isinstance(item, Scalar) or item.wrong:
            continue
        try:
            found = sorted(  # glob and not Path.glob: it takes absolute patterns, too
                itertools.islice(glob.iglob(item.text, root_dir=folder, recursive=True), _MOST_INCLUDED)  # noqa: PTH207
            )
        except (OSError, ValueError) as error:
            findings.wrong(item, f"cannot include: {error}")
            continue
        if not found and glob.has_magic(item.text):
            findings.warning(item.place, f"include: {item.text} matches no file")
        elif not found:
            findings.wrong(item, f"include: no such file: {item.text}")
        paths.extend(str(folder / name) for name in found)
    return paths


def _include(root: Mapping, file: str, environ: Dict[str, str], findings: Findings) -> None:
    """Merge the streams, processors and tasks of one more file into the tree; a name may be declared once only."""
    try:
        more = reading.read(file, findings)
    except reading.Unreadable:
        return
    for key in [key for key in more.entries if key in shape.published()["properties"]]:
        if key not in ("streams", "processors", "tasks"):
            findings.problem(more.key_places[key], f"{key} belongs in the file that includes this one")
            del more.entries[key]
    interpolation.apply(more, environ, findings)
    shape.check(more, shape.included(), "", findings)
    for section, kind in (("streams", "stream"), ("processors", "processor"), ("tasks", "task")):
        added, target = more.entries.get(section), root.entries.get(section)
        if not isinstance(added, Mapping):
            continue
        if target is None:
            target = Mapping(added.place)
            root.put(section, target, added.place)
        if isinstance(target, Mapping):
            _merge(target, added, kind, findings)


def _merge(target: Mapping, added: Mapping, kind: str, findings: Findings) -> None:
    for name, node in added.entries.items():
        place, first = added.key_places[name], target.key_places.get(name)
        if first is None:
            target.put(name, node, place)
        else:
            where = f"{first.file}:{first.line}:{first.column}"
            findings.problem(place, f"{kind} {name!r} is declared twice: here and at {where}")


def _warn_of_permissions(file: str, findings: Findings) -> None:
    """The file names code to run, so who may write it may run code."""
    try:
        mode = stat.S_IMODE(Path(file).stat().st_mode)
    except OSError:
        return
    if mode & 0o022:
        who = "anybody" if mode & 0o002 else "its group"
        findings.warning(
            Place(file, 1, 1), f"can be written by {who} (mode {mode:o}), and it names code to run: chmod go-w"
        )
