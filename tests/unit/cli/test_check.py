"""`runnelctl check`: what it prints, where, and how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]
Write = Callable[[str, str], Any]

FINE = (
    "name: s\npythonpath: [.]\nstreams: {o: {partitions: 1}}\nprocessors:\n  p: {stream: o, handler: 'checked:fine'}\n"
)


def test_a_fine_file_is_one_line_on_stdout(run: Run, write: Write) -> None:
    write("checked.py", "print('noise')\nasync def fine(event, ctx): ...\n")
    write("t.yaml", FINE)
    done = run("check", "t.yaml")
    assert (done.code, done.out, done.err) == (0, "t.yaml: ok: 1 stream, 1 processor\n", "")
    assert json.loads(run("check", "--json", "-t", "t.yaml").out) == {"ok": True, "problems": [], "warnings": []}


def test_mistakes_of_the_file_and_of_handlers_come_together_on_stderr(run: Run, write: Write) -> None:
    write("checked.py", "def fine(): ...\n")
    write("t.yaml", FINE + "  q: {stream: oo, handler: 'checked:gone'}\n")
    done = run("check", "t.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "t.yaml:5:27: handler checked:fine: fine takes (), but is called with (event) or (event, ctx)",
        "t.yaml:6:15: stream 'oo' is not declared (did you mean 'o'?)",
        "t.yaml:6:28: handler checked:gone: module checked has no 'gone'",
    ]
    found = json.loads(run("check", "t.yaml", "--json").out)
    assert found["ok"] is False
    assert found["problems"][1] == {
        "file": "t.yaml", "line": 6, "column": 15, "message": "stream 'oo' is not declared (did you mean 'o'?)",
    }  # fmt: skip


def test_warnings_do_not_fail(run: Run, write: Write) -> None:
    write("checked.py", "def fine(event): ...\n")
    write("t.yaml", FINE).chmod(0o666)
    done = run("check", "t.yaml")
    assert done.code == 0
    assert done.err.startswith("t.yaml:1:1: warning: can be written by anybody (mode 666)")


def test_the_file_that_is_meant(run: Run, write: Write, monkeypatch: Any) -> None:
    write("checked.py", "def fine(event): ...\n")
    assert run("check", "gone.yaml").err == "gone.yaml:1:1: no such file\n"
    none = run("check")
    assert (none.code, none.err[:25]) == (2, "runnelctl: no topology: g")
    both = run("check", "a.yaml", "-t", "b.yaml")
    assert (both.code, both.err) == (2, "runnelctl: give the file once: a.yaml, or -t b.yaml\n")
    write("topology.yaml", FINE)
    assert run("check").out == "topology.yaml: ok: 1 stream, 1 processor\n"
    write("env.yaml", FINE)
    monkeypatch.setenv("RUNNELCTL_TOPOLOGY", "env.yaml")
    assert run("check").out == "env.yaml: ok: 1 stream, 1 processor\n"
    assert run("check", "topology.yaml").out == "topology.yaml: ok: 1 stream, 1 processor\n"
    assert "RUNNELCTL_TOPOLOGY" in run("check", "--help").out


RECORDS = """\
import msgspec

class Order(msgspec.Struct):
    id: str
    items: list[str] = []

class Plain: ...

async def fine(event): ...
"""


def test_records_and_what_is_imported_with_them(run: Run, write: Write) -> None:
    write("checked.py", RECORDS)
    write("bad.py", "import os\nos._exit(3)\n")
    write(
        "t.yaml",
        "name: s\npythonpath: [.]\nstreams:\n"
        "  a: {partitions: 1, key: idd, record: 'checked:Order', schema: {properties: {id: {type: integer}}}}\n"
        "  b: {partitions: 1, record: 'checked:Plain'}\n"
        "  c: {partitions: 1, record: 'bad:Order'}\n"
        "  d: {partitions: 1, codec: 'checked:fine'}\n"
        "  e: {partitions: 1, record: 'checked:Order', codec: fields}\n"
        "processors: {p: {stream: e, handler: 'checked:fine', match: {idd: x}}}\n"
        "discover: ['checked.py', 'bad.py']\n",
    )
    done = run("check", "t.yaml")
    assert done.code == 2
    assert done.err.splitlines() == [
        "t.yaml:8:30: warning: processor p: match: the class has no field 'idd' (did you mean 'id'?)",
        "t.yaml:4:40: record checked:Order: id is integer by the schema, and string in the class",
        "t.yaml:4:40: record checked:Order: id is required by the class, and a record may lack it by the schema",
        "t.yaml:4:40: record checked:Order: the class has no field 'idd', which is the key of the stream",
        "t.yaml:5:30: record checked:Plain is a plain class: "
        "it must be a msgspec.Struct, a dataclass or a pydantic model",
        "t.yaml:6:30: record bad:Order: module bad ended the process that imported it (code 3)",
        "t.yaml:7:29: codec checked:fine is of type function, which has no encode and no decode",
        "t.yaml:8:30: record checked:Order: codec fields: items is array, and codec fields stores flat records",
        "t.yaml:10:26: discover bad: module bad ended the process that imported it (code 3)",
    ]


def test_the_schema_of_a_record_class(run: Run, write: Write) -> None:
    write("checked.py", RECORDS)
    write("topology.yaml", FINE)
    done = run("schema", "--record", "checked:Order")
    assert done.code == 0
    assert json.loads(done.out)["required"] == ["id"]
    assert run("schema", "--record", "checked:Plain").code == 3
