"""Tries what a topology names besides handlers: record classes, codecs, compressors, partitioners, discovered modules.

In a child process, since importing them runs the user's code. It answers a line for each; after a death or a hang the
rest are tried in another child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from runnelctl import errors, handling
from runnelctl.cli.handler_trial import TIMEOUT_S, environ
from runnelctl.topology import ImportPlace

Answer = dict[str, Any]  # `message`: what is wrong, or None; `schema`: of a record class


def answers(places: Sequence[ImportPlace], pythonpath: Sequence[str]) -> list[Answer]:
    """What is to be said of each, in their order."""
    found: list[Answer] = []
    while len(found) < len(places):
        rest = [[each.kind, each.name] for each in places[len(found) :]]
        more, end = _run({"pythonpath": list(pythonpath), "wanted": rest})
        found += more
        if len(found) < len(places):
            module = places[len(found)].name.partition(":")[0]
            found.append({"message": f"{places[len(found)].kind} {places[len(found)].name}: module {module} {end}"})
    return found


def _run(request: dict[str, Any]) -> tuple[list[Answer], str]:
    """What one child answered, and how it ended."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True, env=environ(),
    )  # fmt: skip
    try:
        output, _ = child.communicate(json.dumps(request).encode(), TIMEOUT_S)
        end = f"ended the process that imported it (code {child.returncode})"
    except subprocess.TimeoutExpired:
        child.kill()
        output, _ = child.communicate()
        end = f"is still importing after {TIMEOUT_S:g} s"
    return [json.loads(line) for line in output.splitlines() if line], end


def main() -> None:
    """Runs in the child. What the user's modules print goes nowhere."""
    request = json.load(sys.stdin)
    out = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    handling.put_on_path(request["pythonpath"])
    for kind, name in request["wanted"]:
        answer: Answer = {"message": None}
        try:
            answer |= _tried(kind, name, tuple(request["pythonpath"]))
        except errors.HandlerError as error:
            answer["message"] = str(error)
        except BaseException as error:
            answer["message"] = f"{kind} {name}: examining it raised {type(error).__name__}: {error}"
        os.write(out, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _tried(kind: str, name: str, pythonpath: tuple[str, ...]) -> Answer:
    from runnelctl.records import classes, compression, imported

    if kind == "record":
        return {"schema": classes.load(name, pythonpath).schema()}
    if kind == "discover":
        try:
            handling.module(name)
        except errors.HandlerError as error:
            raise errors.HandlerError(f"discover: {error}") from None
    elif kind == "compression":
        compression.compressor(name, pythonpath)
        compression.decompressor(name, pythonpath)
    else:
        imported.load(kind, name, pythonpath)
    return {}


if __name__ == "__main__":
    main()
