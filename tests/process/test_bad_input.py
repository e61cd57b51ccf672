"""Everything that the contract calls bad input, put to real commands: each gets a sentence that says what and where,
its exit code, no traceback of ours, and costs nothing that is stored."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.process.mistakes import Case, meet
from tests.process.ups import Up, command, project

pytestmark = pytest.mark.process

DEEP = b"[" * 200_000 + b"]" * 200_000
HUGE = b'{"id": "' + b"x" * (64 << 20) + b'"}'


CHECK_UP: tuple[tuple[str, ...], ...] = (("check",), ("up",))
EVERY = (*CHECK_UP, ("status", "--once"), ("send", "orders", '{"id": 1}'), ("config",))


def file(name: str, *says: str, commands: tuple[tuple[str, ...], ...] = CHECK_UP, **more: Any) -> Case:
    return Case(name, commands, 2, says, **more)


BOMB = b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (n, n, n - 1, n - 1) for n in range(98, 122))
FILES = [
    file("no such file", "nowhere.yaml:1:1: no such file",
         commands=(("up", "nowhere.yaml"), ("check", "nowhere.yaml"), ("status", "-t", "nowhere.yaml"))),
    file("a directory", ".:1:1: is a directory", commands=(("up", "."), ("send", "-t", ".", "orders", "{}"))),
    file("a file nobody named", "no topology", "-t FILE",
         commands=(("up", "--only", "x"),), env={"RUNNELCTL_TOPOLOGY": ""}, whole=b"\0gone"),
    file("empty", "topology.yaml:1:1: the file is empty", whole=b"", commands=EVERY),
    file("not YAML", "topology.yaml:2:1: not YAML", whole=b"streams: [\n"),
    file("not UTF-8", "topology.yaml:2:7: not UTF-8: byte 0xff", whole=b"name: x\nredis:\xff\n"),
    file("an alias bomb", "topology.yaml:1:4: anchors", "aliases (*a) are refused", whole=BOMB),
    file("2 MiB", "topology.yaml:1:1: is over 1 MiB", "include", whole=b"# " + b"x" * (2 << 20)),
    file("200,000 brackets", "topology.yaml:1:", "deep", whole=DEEP),
    file("an unknown key", "topology.yaml:5:27: ", "'keey'", "did you mean 'key'?", edit=(("key: id", "keey: id"),)),
    file("a key twice", "topology.yaml:2:1: 'name' is here twice, first in line 1",
         edit=(("redis:", "name: x\nredis:"),)),
    file("partitions 0", "topology.yaml:5:24: partitions", "1", edit=(("partitions: 2", "partitions: 0"),)),
    file("partitions -1", "topology.yaml:5:24: partitions", "1", edit=(("partitions: 2", "partitions: -1"),)),
    file("partitions text", "topology.yaml:5:24: partitions must be a whole number", "without the quotes",
         edit=(("partitions: 2", 'partitions: "8"'),)),
    file("no such stream", "topology.yaml:7:21: ", "did you mean 'orders'?",
         edit=(("stream: orders", "stream: order"),)),
    file("a schema that is none", "topology.yaml:5:", "schema", edit=(("key: id", "key: id, schema: {type: 7}"),)),
    file("a schema file that is not there", "topology.yaml:5:", "s.json",
         edit=(("key: id", "key: id, schema: s.json"),)),
    file("a schema file that is no JSON", "topology.yaml:5:", "s.json",
         edit=(("key: id", "key: id, schema: s.json"),), files={"s.json": b"{"}),
    file("a variable that is not set", "topology.yaml:1:7: variable NOPE is not set",
         edit=(("name: ", "name: ${NOPE}"),)),
    file("a Redis URL of another kind", "topology.yaml:2:8: ", "redis://",
         edit=(("redis: ", "redis: mysql://u:canary@h/0 #"),)),
    file("no processors", "declares no processors", "nothing to run", commands=(("up",),),
         edit=(("processors:", "include: []\n# "), ("  billing", "# "))),
    file("an unknown command", "No such command 'chek'", "Did you mean 'check'?", commands=(("chek",),)),
    file("an unknown flag", "No such option '--drian'", "--drain", commands=(("up", "--drian"),)),
    file("an unknown processor", "--only: no processor 'bil'; there are billing", commands=(("up", "--only", "bil"),)),
    file("the same by the environment", "--only: no processor 'bil'", commands=(("up",),),
         env={"RUNNELCTL_UP_ONLY": "bil"}),
    file("a flag by the environment", "'perhaps' is not a valid boolean", commands=(("up",),),
         env={"RUNNELCTL_UP_DRAIN": "perhaps"}),
    file("flags that exclude each other", "--watch goes on and --once ends", commands=(("status", "--once"),),
         env={"RUNNELCTL_STATUS_WATCH": "1"}),
    file("an unknown stream", "no stream 'order'; did you mean 'orders'?", commands=(("send", "order", "{}"),)),
    file("nothing to send", "give records, or a file", commands=(("send", "orders"),)),
    file("two things to send", "not both", commands=(("send", "orders", "{}", "-f", "-"),)),
    file("no such records", "cannot read gone: No such file", commands=(("send", "orders", "-f", "gone"),)),
    file("records in a directory", "cannot read .: Is a directory", commands=(("send", "orders", "-f", "."),)),
]  # fmt: skip


def handler(name: str, text: str, *says: str, attribute: str = "charge", checked: bool = True) -> list[Case]:
    """`check` finds it, and `up` ends with 3 and shows the user's own lines."""
    edit = (("handlers:charge", f"hx:{attribute}"),)
    files = {"hx.py": text.encode()}
    seen = [Case(f"{name}, check", (("check",),), 2, ("topology.yaml:7:38: handler hx:", says[0]), edit, files=files)]
    run = Case(f"{name}, up", (("up",),), 3, (*says, "its handler hx:", "not restarted"), edit, files=files)
    return [*(seen if checked else []), run]


HANDLER_CASES = [
    *handler("missing", "def charg(event): pass\n", "module hx has no 'charge' (did you mean 'charg'?)"),
    *handler("not callable", "charge = 3\n", "must be callable"),
    *handler("wrong signature", "def charge(): pass\n", "charge takes ()"),
    *handler("raises on import", "import os\nURL = os.environ['NO_SUCH_URL']\n", "KeyError: 'NO_SUCH_URL'", "hx.py"),
    *handler("no Python", "def charge(:\n", "SyntaxError", "hx.py"),
    *handler("imports what is not there", "import nothing_such\n", "No module named 'nothing_such'", "hx.py"),
    *handler("calls sys.exit", "import sys\nsys.exit('no config')\n", "no config", "hx.py"),
    *handler("leaves no trace", "import os\nos._exit(0)\n", "(exit code 0)")[:1],
    *handler("leaves no trace", "import os\nos._exit(0)\n", "exited with code 0", checked=False),
    *handler("dies", "import ctypes\nctypes.string_at(0)\n", "SIGSEGV"),
    *handler("fails to open", "class Charge:\n  async def open(self, ctx): raise OSError('no database')\n"
             "  async def __call__(self, event): pass\n", "OSError: no database", "hx.py",
             attribute="Charge", checked=False),
]  # fmt: skip


def records(name: str, record: bytes, *says: str, argument: bool = True) -> list[Case]:
    """The same record from a file, from stdin, gzipped and as an argument; a good one beside it is not sent either."""
    lines = b'{"id": "good"}\n' + record + b"\n"
    cases = [
        Case(f"{name}, file", (("send", "orders", "-f", "bad"),), 1, ("bad:2: ", *says), files={"bad": lines}),
        Case(f"{name}, stdin", (("send", "orders", "-f", "-"),), 1, ("stdin:2: ", *says), stdin=lines),
        Case(
            f"{name}, gzip", (("send", "orders", "-f", "bad"),), 1, ("bad:2: ",), files={"bad": gzip.compress(lines, 1)}
        ),
    ]
    if argument:
        text = os.fsdecode(record)
        cases.append(Case(f"{name}, argument", (("send", "orders", '{"id": 1}', text),), 1, ("record 2: ", *says)))
    return [dataclasses.replace(each, says=(*each.says, "nothing was sent: 1 of 2 is refused")) for each in cases]


RECORDS = [
    *records("not JSON", b'{"id": 1', "not JSON"),
    *records("not UTF-8", b'{"id": "\xff"}', "not UTF-8: byte 0xff at offset 8"),
    *records("NaN", b'{"id": NaN}', "NaN is no JSON number"),
    *records("200,000 deep", DEEP, "too deep: more than 64", argument=False),
    *records("64 MiB", HUGE, "too large", "64 MiB", argument=False),
    *records("no key", b'{"ID": 1}', "key field 'id' is missing: the record has ID"),
    *records("a null key", b'{"id": null}', "key field 'id' is null"),
    Case("cut gzip", (("send", "orders", "-f", "bad"),), 1, ("cannot read bad to its end",),
         files={"bad": gzip.compress(b'{"id": 1}\n' * 99)[:-9]}),
]  # fmt: skip


@pytest.mark.parametrize("case", [*FILES, *HANDLER_CASES, *RECORDS], ids=str)
def test_bad_input(case: Case, tmp_path: Path, stored: Callable[[], Any]) -> None:
    meet(tmp_path, case, stored)


CHANGED = [
    Case("partitions", (("up",), ("send", "orders", '{"id": 2}')), 1, ("'orders' has 2 partitions", "but 8 partitions"),
         (("partitions: 2", "partitions: 8"),)),
    Case("partitioner", (("up",), ("send", "orders", '{"id": 2}')), 1,
         ("by crc32", "by murmur2", "Put the old values back"),
         (("key: id", "key: id, partitioner: murmur2"),)),
]  # fmt: skip


@pytest.mark.parametrize("case", CHANGED, ids=str)
def test_what_redis_holds_may_not_change(case: Case, tmp_path: Path, stored: Callable[[], Any]) -> None:
    meet(tmp_path, case, stored)


def test_another_version_beside_a_live_host(
    tmp_path: Path, stored: Callable[[], Any], start_up: Callable[..., Up]
) -> None:
    up = start_up(tmp_path).wait_ready()
    says = ("runs another version", "`runnelctl down`", "processors.billing.retry.attempts: 7 here, 2 there")
    meet(tmp_path, Case("version", (("up",),), 2, says, (("attempts: 2", "attempts: 7"),)), stored)
    assert up.process.poll() is None
    assert up.stop() == 0


@pytest.mark.soak
def test_a_module_that_hangs_when_imported_is_given_up(
    tmp_path: Path, stored: Callable[[], Any], start_up: Callable[..., Up]
) -> None:
    project(tmp_path, (tmp_path / "topology.yaml").read_text(), handlers="import time\ntime.sleep(1000)\n")
    up = start_up(tmp_path)
    checked = command(tmp_path, "check")
    assert checked.returncode == 2
    assert "module handlers is still importing after 30 s" in checked.stderr
    assert up.wait(100) == 3
    assert 'handlers.py", line 2 in <module>' in up.output
    assert "was not ready after 60 s" in up.output


def test_files_as_windows_and_editors_leave_them(tmp_path: Path, stored: Callable[[], Any]) -> None:
    mark = b"\xef\xbb\xbf"
    lines = mark + b'{"id": 1}\r\n\r\n  \r\n{"id": 2}'
    topology = tmp_path / "topology.yaml"
    topology.write_bytes(mark + topology.read_bytes().replace(b"\n", b"\r\n"))
    for name, content in (("plain", lines), ("packed", gzip.compress(lines)), ("empty", b""), ("blank", b"\r\n\n")):
        (tmp_path / name).write_bytes(content)
        ended = command(tmp_path, "send", "orders", "--json", RUNNELCTL_SEND_FILE=name)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["sent"] == (2 if name in ("plain", "packed") else 0)
