"""`runnelctl send` as a user runs it: a process, its exit code, its stdout and its stderr."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runnelctl
from runnelctl.cli import bulk
from runnelctl.core import keys
from runnelctl.store import connect as store
from tests.servers import Server

Send = Callable[..., subprocess.CompletedProcess[str]]
PARTITIONS = 4


@pytest.fixture
def send(tmp_path: Path, valkey: Server, app_name: str) -> Send:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}}
    (tmp_path / "topology.yaml").write_text(
        f"name: {app_name}\nredis: {valkey.url}\nstreams:\n"
        f"  orders: {{partitions: {PARTITIONS}, key: id, schema: {json.dumps(schema)}}}\n"
    )

    def run(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "runnelctl", "send", *args]
        environ = os.environ | {"PYTHONPATH": str(Path(runnelctl.__file__).parents[1])}
        done = subprocess.run(command, input=stdin, capture_output=True, cwd=tmp_path, env=environ, check=False)
        assert b"Traceback" not in done.stderr
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def entries(valkey: Server, app_name: str) -> Callable[[], list[dict[bytes, bytes]]]:
    def read() -> list[dict[bytes, bytes]]:
        client = store.client(valkey.endpoint)
        try:
            return [
                fields
                for partition in range(PARTITIONS)
                for _, fields in client.xrange(keys.events(app_name, "orders", partition))
            ]
        finally:
            client.close()

    return read


GOOD = b"".join(json.dumps({"id": f"u{n % 9}", "n": n}).encode() + b"\n" for n in range(5_000))
BAD = b'{"id":"a","n":1}\n{"id":"a","n":-1}\n\n{"id":\n{"n":3}\n\xff\n{"id":"b","n":2}\n'


def test_arguments_give_ids_on_stdout(send: Send, entries: Any) -> None:
    done = send("orders", '{"id": "a", "n": 1}', '{"id": "b"}', "--header", "trace=t=1")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert all("-" in line for line in done.stdout.splitlines())
    assert done.stderr.startswith("sent 2 records to orders (4 partitions) in 0.")
    assert sorted(entry[b"data"] for entry in entries()) == [b'{"id": "a", "n": 1}', b'{"id": "b"}']
    assert {entry[b"h:trace"] for entry in entries()} == {b"t=1"}


def test_one_bad_argument_sends_nothing(send: Send, entries: Any) -> None:
    done = send("orders", '{"id": "a"}', '{"id": "a", "n": -1}')
    assert done.returncode == 1
    assert "record 2: n: -1 is less than the minimum of 0" in done.stderr
    assert "nothing was sent: 1 of 2" in done.stderr
    assert entries() == []


def test_a_key_given(send: Send, entries: Any) -> None:
    assert send("orders", '{"n": 1}', "--key", "mine").returncode == 0
    assert [entry[b"key"] for entry in entries()] == [b"mine"]


def test_a_bad_file_sends_nothing_and_lists_where(send: Send, entries: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(BAD)
    done = send("orders", "--file", "bad.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "bad.jsonl:2: n: -1 is less than the minimum of 0",
        "bad.jsonl:4: not JSON: input data was truncated",
        "bad.jsonl:5: key field 'id' is missing: the record has n",
        "bad.jsonl:6: not UTF-8: byte 0xff at offset 0",
        "runnelctl: nothing was sent: 4 of 6 are refused",
    ]
    assert entries() == []


def test_only_the_first_refusals_are_listed(send: Send) -> None:
    done = send("orders", "-f", "-", stdin=b"x\n" * 25)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (1, 12)
    assert lines[9].startswith("stdin:10: ")
    assert lines[10] == "… and 15 more"


def test_skip_sends_the_good_ones_and_keeps_the_rest(send: Send, entries: Any, tmp_path: Path) -> None:
    done = send("orders", "-f", "-", "--on-invalid", "skip", "--rejected", "out.jsonl", "--json", stdin=BAD)
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert (report["stream"], report["sent"], report["refused"], len(report["ids"])) == ("orders", 2, 4, 2)
    assert done.stderr.splitlines()[-1].endswith(", 4 refused")
    rejected = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["line"] for line in rejected] == [2, 4, 5, 6]
    assert rejected[0] == {
        "line": 2, "error": "n: -1 is less than the minimum of 0", "record": '{"id":"a","n":-1}',
    }  # fmt: skip
    assert len(entries()) == 2


@pytest.mark.parametrize("form", ["plain", "gzip", "stdin", "dash"])
def test_a_file_in_every_form(send: Send, entries: Any, tmp_path: Path, form: str) -> None:
    (tmp_path / "good").write_bytes(gzip.compress(GOOD) if form == "gzip" else GOOD)
    args = {"stdin": ["--file", "-"], "dash": ["-"]}.get(form, ["--file", "good"])
    done = send("orders", *args, stdin=GOOD if form in ("stdin", "dash") else b"")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("sent 5,000 records to orders (4 partitions) in ")
    by_key: dict[bytes, list[int]] = {}
    for entry in entries():
        by_key.setdefault(entry[b"key"], []).append(json.loads(entry[b"data"])["n"])
    assert sum(len(numbers) for numbers in by_key.values()) == 5_000
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


def test_more_than_is_kept_in_memory_is_read_again(
    tmp_path: Path, valkey: Server, app_name: str, monkeypatch: pytest.MonkeyPatch, entries: Any
) -> None:
    from click.testing import CliRunner

    from runnelctl.cli import send as module

    monkeypatch.setattr(bulk, "_KEPT_BYTES", 1_000)
    (tmp_path / "t.yaml").write_text(
        f"name: {app_name}\nredis: {valkey.url}\nstreams: {{orders: {{partitions: 4, key: id}}}}\n"
    )
    result = CliRunner().invoke(module.command, ["orders", "-f", "-", "-t", str(tmp_path / "t.yaml")], input=GOOD)
    assert result.exit_code == 0, result.output
    assert len(entries()) == 5_000


@pytest.mark.parametrize(
    ("args", "stdin", "code", "says"),
    [
        (["order", "{}"], b"", 2, "has no stream 'order'; did you mean 'orders'?"),
        (["orders"], b"", 2, "give records, or a file with --file"),
        (["orders", "{}", "-f", "x"], b"", 2, "not both"),
        (["orders", "-f", "nosuch.jsonl"], b"", 2, "cannot read nosuch.jsonl: No such file"),
        (["orders", "-f", "."], b"", 2, "cannot read .: Is a directory"),
        (["orders", "{}", "-H", "x"], b"", 2, "write NAME=VALUE"),
        (["orders", "{}", "--key", ""], b"", 1, "the key given must be a non-empty text"),
        (["orders", "-f", "-", "--rejected", "no/such/dir"], b"", 2, "cannot write no/such/dir"),
        (["orders", "-f", "topology.yaml", "--rejected", "topology.yaml"], b"", 2, "the very file"),
        (["orders", "-f", "-"], b"[" * 200_000, 1, "too deep"),
        (["orders", "-f", "-"], b'"' + b"x" * 64 * 1024 * 1024 + b'"', 1, "too large"),
        (["orders", "-f", "-"], b'{"id":"a","n":NaN}', 1, "NaN is no JSON number"),
    ],
)
def test_bad_input_gets_a_sentence(
    send: Send, entries: Any, args: list[str], stdin: bytes, code: int, says: str
) -> None:
    done = send(*args, stdin=stdin)
    assert says in done.stderr
    assert (done.returncode, done.stdout) == (code, "")
    assert entries() == []


def test_nothing_at_all_is_not_an_error(send: Send) -> None:
    done = send("orders", "-f", "-", "--json")
    assert (done.returncode, json.loads(done.stdout)["sent"]) == (0, 0)


def test_a_redis_that_is_down(tmp_path: Path, send: Send) -> None:
    (tmp_path / "topology.yaml").write_text(
        "name: t\nredis: unix:///nowhere/s\nstreams: {orders: {partitions: 1, key: id}}\n"
    )
    done = send("orders", '{"id": "a"}')
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1
