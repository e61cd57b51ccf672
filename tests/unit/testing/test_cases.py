"""`runnelctl test`: cases in YAML, what they find, and what is said of a file that is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from runnelctl.testing import cases
from tests.process.ups import environment

TOPOLOGY = """\
name: shop
pythonpath: [.]
streams:
  orders: {partitions: 2, key: user, schema: {required: [cents]}}
  receipts: {partitions: 1, key: user}
processors:
  billing: {stream: orders, handler: shop_handlers:bill, policy: QUARANTINE, retry: {attempts: 2}}
  mailer: {stream: receipts, handler: shop_handlers:mail, policy: IGNORE, dead_letter: true, retry: {attempts: 1}}
"""
HANDLERS = """\
def bill(event, ctx):
    print("handlers may print")
    if event.value["cents"] == 13:
        raise ValueError("thirteen is not a price")
    ctx.state["cents"] = ctx.state.get("cents", 0) + event.value["cents"]
    ctx.emit("receipts", {"user": event.key, "balance": ctx.state["cents"]})

def mail(event):
    if event.value["balance"] > 100:
        raise LookupError("no such address")
"""
GOOD = """\
topology: shop.yaml
cases:
  a bill:
    only: [billing]
    given:
      - send: orders
        records: [{user: ada, cents: 5}, {user: ada, cents: 6}]
        headers: {from: a test}
      - advance: 10s
    expect:
      streams:
        receipts:
          - {user: ada, balance: 5}
          - {user: ada, balance: 11}
      state:
        billing: {ada: {cents: 11}, bob: null}
  a bad price and a bad address:
    given:
      - {send: orders, record: {user: ada, cents: 200}}
      - {send: orders, record: {user: ada, cents: 13}}
      - {send: orders, raw: "{", key: ada}
    expect:
      dead_letters: {mailer: [{user: ada, balance: 200}]}
      ignored: {mailer: [LookupError]}
      quarantined:
        billing: [{type: ValueError, message: thirteen, key: ada, attempts: 2}]
  skipped by an operator:
    given:
      - {send: orders, records: [{user: ada, cents: 13}, {user: ada, cents: 1}]}
      - {replay: billing, skip: true}
    expect:
      state: {billing: {ada: {cents: 1}}}
"""
BAD = """\
cases:
  too much:
    given:
      - send: orders
        records: [{user: ada, cents: 5}, {user: ada, cents: 6}]
    expect:
      streams:
        receipts:
          - {user: ada, balance: 5}
          - {user: ada, balance: 12}
      state:
        billing:
          ada: {cents: 12}
  not expected:
    given:
      - {send: orders, record: {user: ada, cents: 13}}
    expect: {}
  refused:
    given:
      - {send: orders, record: {user: ada}}
    expect: {}
  another failure:
    given:
      - {send: orders, record: {user: ada, cents: 13}}
    expect:
      quarantined:
        billing: [KeyError]
"""


def project(directory: Path, name: str, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "shop_handlers.py").write_text(HANDLERS)
    (directory / "shop.yaml").write_text(TOPOLOGY)
    (directory / "shop.yaml").chmod(0o644)
    (directory / name).write_text(text)
    return directory / name


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runnelctl", "test", *arguments],
        cwd=directory, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_cases_that_hold(tmp_path: Path) -> None:
    project(tmp_path, "good.test.yaml", GOOD)
    ended = run(tmp_path)
    assert (ended.returncode, ended.stdout) == (
        0,
        "ok   good.test.yaml: a bill\nok   good.test.yaml: a bad price and a bad address\n"
        "ok   good.test.yaml: skipped by an operator\n3 cases, 0 failed\n",
    )
    assert "handlers may print" in ended.stderr


def test_cases_that_do_not(tmp_path: Path) -> None:
    project(tmp_path, "shop.test.yaml", BAD)
    ended = run(tmp_path, "shop.yaml")
    assert ended.returncode == 1
    assert ended.stdout.splitlines() == [
        "FAIL shop.test.yaml: too much",
        "  shop.test.yaml:10:13: stream receipts: 2 expected (-), 2 found (+)",
        '      {"user": "ada", "balance": 5}',
        '    - {"user": "ada", "balance": 12}',
        '    + {"user": "ada", "balance": 11}',
        '  shop.test.yaml:13:16: state of \'ada\' in billing: expected {"cents": 12}, got {"cents": 11}',
        "FAIL shop.test.yaml: not expected",
        "  shop.test.yaml:15:5: billing is quarantined, which is not expected: "
        "ValueError: thirteen is not a price (key 'ada', 2 attempt(s))",
        f'     File "{tmp_path}/shop_handlers.py", line 4, in bill',
        "FAIL shop.test.yaml: refused",
        '  shop.test.yaml:20:9: "cents" is a required property',
        "FAIL shop.test.yaml: another failure",
        '  shop.test.yaml:27:19: quarantined of billing: type "KeyError" expected, got '
        "ValueError: thirteen is not a price (key 'ada', 2 attempt(s))",
        f'     File "{tmp_path}/shop_handlers.py", line 4, in bill',
        "4 cases, 4 failed",
    ]


def test_several_files_each_with_handlers_of_its_own(tmp_path: Path) -> None:
    first = project(tmp_path / "a", "good.test.yaml", GOOD)
    second = project(tmp_path / "b", "shop.test.yaml", BAD)
    ended = run(tmp_path, str(first), str(second), "--json")
    shown = json.loads(ended.stdout)
    assert (ended.returncode, shown["ok"]) == (1, False)
    assert [(each["file"], each["ok"]) for each in shown["cases"]] == [("a/good.test.yaml", True)] * 3 + [
        ("b/shop.test.yaml", False)
    ] * 4
    assert shown["cases"][4]["problems"][0]["line"] == 15
    one = run(tmp_path, str(first), str(second), "-k", "a b*")
    assert (one.returncode, one.stdout.splitlines()[-1]) == (0, "2 cases, 0 failed")


WRONG = {
    "cases: 5": "1:8: cases must be a mapping of cases, by name, not 5",
    "": "1:1: the file is empty",
    "topology: nowhere.yaml\ncases: {}": "1:11: there is no ",
    "cases: {a: {given: [], expect: {strems: {}}}}": "1:33: unknown key 'strems' (did you mean 'streams'?)",
    "cases: {a: {given: []}}": "1:9: expect is missing",
    "cases: {a: {given: [{send: x}], expect: {}}}": "1:21: send needs one of record, records and raw",
    "cases: {a: {given: [{advance: 1s, record: 1}], expect: {}}}": "1:35: record does not belong to advance",
    "cases: {a: {given: [{advance: fast}], expect: {}}}": "1:31: advance must be a duration such as",
    "cases: {a: {given: [{}], expect: {}}}": "1:21: a step has one of send, advance and replay",
    "cases: {a: {given: [], expect: {halted: {b: [5]}}}}": "1:46: a failure is an exception's name",
    "cases: [": "2:1: not YAML: ",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_is_none(text: str, tmp_path: Path, run: Callable[..., Any]) -> None:
    project(tmp_path, "shop.test.yaml", text)
    outcome = run("test", "shop.test.yaml")
    assert outcome.code == 2
    assert f"shop.test.yaml:{WRONG[text]}" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no cases: there is no *.test.yaml here"),
        (["none.test.yaml"], "none.test.yaml:1:1: no such file"),
        (["other.yaml"], "other.yaml has no cases: there is no other.test.yaml"),
    ],
)
def test_no_cases(arguments: list[str], sentence: str, tmp_path: Path, run: Callable[..., Any]) -> None:
    outcome = run("test", *arguments)
    assert outcome.code == 2
    assert sentence in outcome.err


def test_the_schema_and_the_loader_agree() -> None:
    jsonschema.Draft7Validator.check_schema(cases.schema())
    validator = jsonschema.Draft7Validator(cases.schema())
    for text in (GOOD, BAD):
        assert validator.is_valid(yaml.safe_load(text))
    assert not validator.is_valid(yaml.safe_load("cases: 5"))
