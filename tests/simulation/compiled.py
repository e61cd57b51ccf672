"""The simulation as machine code: mypyc compiles it and the decisions that it drives, from the very same files.

It is two to three times as fast, which counts with a million schedules, and takes a minute to build. That both do
exactly the same is looked at after every build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_SOURCES = (  # all that a schedule may depend on
    "runnelctl/core/*.py", "runnelctl/runtime/board.py", "runnelctl/runtime/places.py", "runnelctl/runtime/standins.py",
    "runnelctl/store/*.py", "tests/simulation/*.py",
)  # fmt: skip
_CORE = ("assign", "charges", "encoded", "lifecycle", "membership", "policy", "routing", "tenancy")
_SIMULATION = (
    "board", "faults", "host", "keeper", "lane", "scheduler", "sender", "store", "streams", "truth", "world",
)  # fmt: skip
_SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup
modules = mypycify(["--config-file=", *sys.argv[1:]])
setup(name="simulation", packages=[], ext_modules=modules, script_args=["build_ext", "--inplace"])
"""


def digest() -> str:
    """Of the sources: schedules with another digest are of another program."""
    found = hashlib.sha256(sys.version.encode())
    for pattern in _SOURCES:
        for path in sorted(_REPOSITORY.glob(pattern)):
            found.update(path.relative_to(_REPOSITORY).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:12]


def running() -> bool:
    """Whether this process runs the compiled one."""
    from tests.simulation import world

    return not str(world.__file__).endswith(".py")


def build() -> Path:
    """Where the compiled one is; builds it, if that was not done for just these files. Raises CalledProcessError."""
    root = Path(tempfile.gettempdir()) / f"runnelctl-simulation-{digest()}"
    if root.exists():
        return root
    work = Path(tempfile.mkdtemp(prefix="runnelctl-simulation-"))
    for package in ("runnelctl", "tests"):
        shutil.copytree(_REPOSITORY / package, work / package, ignore=shutil.ignore_patterns("__pycache__"))
    modules = [f"runnelctl/core/{name}.py" for name in _CORE]
    modules += [f"tests/simulation/{name}.py" for name in _SIMULATION]
    print("compiling, which takes a minute", file=sys.stderr, flush=True)
    command = [sys.executable, "-c", _SETUP, *modules]
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(work / "build")
    _compare(work)
    work.rename(root)
    return root


def _compare(root: Path) -> None:
    """The first schedules here and there, step by step. Raises SystemExit."""
    command = [sys.executable, "-P", "-m", "tests.simulation", "--fingerprint"]
    here = subprocess.run(command, env=_environment(_REPOSITORY), check=True, capture_output=True).stdout
    there = subprocess.run(command, env=_environment(root), check=True, capture_output=True).stdout
    if here != there:
        raise SystemExit(f"the compiled simulation does something else: {there!r} instead of {here!r}; see {root}")


def _environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root)}


def become(arguments: list[str]) -> None:
    """Go on as the compiled one; never returns."""
    root = build()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "tests.simulation", *arguments], _environment(root))
