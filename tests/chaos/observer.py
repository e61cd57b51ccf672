"""Writes down every change of ownership and every commit that Redis let pass, as Redis itself tells it (MONITOR); a
process of its own, so that the fence can be judged without asking the thing under test.

python -m tests.chaos.observer SOCKET PASSWORD_VARIABLE OUT
Reads from stdin another SOCKET to follow, after a failover. Lines of OUT, times in ns of the machine's clock:

a processor partition epoch nonce cursor count at             a lease was taken
c processor partition epoch nonce seq expected new n at       a commit passed
r processor partition epoch nonce at                          a lease was let go
gap at                                                        what happened before this may be missing
"""

from __future__ import annotations

import os
import re
import select
import socket
import sys
import time
from typing import Any

_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_UNIT = re.compile(r"\{[^{}:]*:[^{}:]*:(\d+)\}:own:([^:]+)")
_READ = 1 << 18


class Watch:
    """Lines of MONITOR in, lines of OUT out. A script's own commands follow the line of its call."""

    def __init__(self) -> None:
        self._called: list[str] = []

    def line(self, line: bytes, at: int) -> str | None:
        """What to write for a line, or None."""
        if b":own:" not in line:
            return None
        if b" lua] " not in line[:60]:
            if b'"EVAL' in line[:120]:
                self._called = _arguments(line)
            return None
        if b'"HSET"' not in line[:60]:
            return None
        _, own, *flat = (word.decode("latin-1") for word in _WORD.findall(line))
        fields = dict(zip(flat[::2], flat[1::2], strict=False))
        unit = _UNIT.fullmatch(own)
        if unit is None:
            return None
        name = f"{unit[2]} {unit[1]}"
        if fields.get("nonce") and "epoch" in fields:
            return f"a {name} {fields['epoch']} {fields['nonce']} {fields['cursor']} {fields['count']} {at}\n"
        called = self._called
        if "cursor" in fields and "seq" in fields and "epoch" not in fields and len(called) > 6:
            epoch, nonce, _, expected, _, n = called[:6]
            return f"c {name} {epoch} {nonce} {fields['seq']} {expected} {fields['cursor']} {n} {at}\n"
        if fields.get("nonce") == "" and len(called) > 1:
            return f"r {name} {called[0]} {called[1]} {at}\n"
        return None


def _arguments(line: bytes) -> list[str]:
    """ARGV of a call, as far as it is needed: the script, the number of keys and the keys come before."""
    found: list[str] = []
    keys = -1
    for number, word in enumerate(_WORD.finditer(line)):
        if number == 2:
            keys = int(word[1])
        elif number > 2 + keys >= 2:
            found.append(word[1].decode("latin-1"))
            if len(found) == 9:
                break
    return found


def _connected(path: str, password: str) -> socket.socket | None:
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(5)
    try:
        link.connect(path)
        link.sendall(f"AUTH {password}\r\nMONITOR\r\n".encode())
        said = b""
        while said.count(b"\r\n") < 2:
            if not (data := link.recv(4_096)):
                raise OSError("hung up")
            said += data
            if said.startswith(b"-"):
                raise OSError(said.decode())
    except OSError:
        link.close()
        return None
    link.setblocking(False)
    return link


def follow(path: str, password: str, out: Any) -> None:
    """Until stdin ends."""
    link: socket.socket | None = None
    watch, text = Watch(), b""
    while True:
        if link is None:
            watch, text = Watch(), b""
            if (link := _connected(path, password)) is not None:
                out.write(f"gap {time.monotonic_ns()}\n")
                out.flush()
        readable, _, _ = select.select([0] if link is None else [0, link], [], [], 0.05 if link is None else 1.0)
        if 0 in readable:
            if not (ordered := os.read(0, 4_096)):
                return
            path = ordered.decode().split("\n")[-2]
            if link is not None:
                link.close()
                link = None
        if link is not None and link in readable:
            try:
                data = link.recv(_READ)
            except OSError:
                data = b""
            if not data:
                link.close()
                link = None
                continue
            at = time.monotonic_ns()
            *lines, text = (text + data).split(b"\r\n")
            out.writelines(said for line in lines if (said := watch.line(line, at)))
            out.flush()


if __name__ == "__main__":
    with open(sys.argv[3], "a", encoding="utf-8") as written:  # noqa: PTH123
        follow(sys.argv[1], os.environ[sys.argv[2]], written)
