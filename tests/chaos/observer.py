"""Writes down every change of ownership and every commit that Redis let pass, as Redis itself tells it (MONITOR); a
process of its own, so that the fence can be judged without asking the thing under test.

python -m tests.chaos.observer SOCKET PASSWORD_VARIABLE OUT
Reads from stdin another SOCKET to follow, after a failover. Lines of OUT, times in ns of the machine's clock:

a processor partition epoch nonce cursor count at owner       a lease was taken
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
_LAST_WORDS_S = 0.2


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
            taken = " ".join(fields[word] for word in ("epoch", "nonce", "cursor", "count"))
            return f"a {name} {taken} {at} {fields['owner']}\n"
        called = self._called
        if "cursor" in fields and "seq" in fields and "epoch" not in fields and len(called) > 6:
            epoch, nonce, _, expected, _, n = called[:6]
            return f"c {name} {epoch} {nonce} {fields['seq']} {expected} {fields['cursor']} {n} {at}\n"
        if fields.get("nonce") == "" and "epoch" not in fields and len(called) > 1:
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


class Follower:
    """One server after the other; `out` is written as it is heard."""

    def __init__(self, path: str, password: str, out: Any) -> None:
        self.path, self._password, self._out = path, password, out
        self._link: socket.socket | None = None
        self._watch, self._text = Watch(), b""
        self._heard = False

    def run(self) -> None:
        """Until stdin ends and what was heard by then is written."""
        while True:
            if self._link is None:
                self._connect()
            ordered = self._turn(1.0 if self._link is not None else 0.05)
            if ordered == b"":
                while self._link is not None and self._turn(_LAST_WORDS_S, stdin=False) is None and self._heard:
                    continue
                return
            if ordered:
                self.path = ordered.decode().split("\n")[-2]
                self._drop()

    def _connect(self) -> None:
        self._watch, self._text = Watch(), b""
        if (link := _connected(self.path, self._password)) is not None:
            self._link = link
            self._out.write(f"gap {time.monotonic_ns()}\n")
            self._out.flush()

    def _turn(self, wait_s: float, *, stdin: bool = True) -> bytes | None:
        """What stdin says, empty at its end, None if nothing; takes a piece from the server, too."""
        sources: list[Any] = [*([0] if stdin else []), *([self._link] if self._link is not None else [])]
        readable, _, _ = select.select(sources, [], [], wait_s)
        self._heard = self._link is not None and self._link in readable
        if self._heard:
            self._listen()
        return os.read(0, 4_096) if stdin and 0 in readable else None

    def _listen(self) -> None:
        assert self._link is not None
        try:
            data = self._link.recv(_READ)
        except OSError:
            data = b""
        if not data:
            self._drop()
            return
        at = time.monotonic_ns()
        *lines, self._text = (self._text + data).split(b"\r\n")
        self._out.writelines(said for line in lines if (said := self._watch.line(line, at)))
        self._out.flush()

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


if __name__ == "__main__":
    with open(sys.argv[3], "a", encoding="utf-8") as written:  # noqa: PTH123
        Follower(sys.argv[1], os.environ[sys.argv[2]], written).run()
