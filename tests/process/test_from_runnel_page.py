"""docs/from-runnel.md: the two sides of the page are two apps that say the same of the same records."""

from __future__ import annotations

import collections
import json
import re
from pathlib import Path

import pytest

from tests.process import ups
from tests.servers import Server

pytestmark = pytest.mark.process

PAGE = (ups.REPOSITORY / "docs" / "from-runnel.md").read_text("utf-8")
WHEN = "2026-01-31T12:00:00Z"
ORDERS = [
    {
        "order_id": n,
        "created_at": WHEN,
        "amount": float(n),
        "items": [{"id": n, "name": "x"}] * (n % 3),
    }
    for n in range(1, 21)
] + [{"order_id": 99, "created_at": WHEN, "amount": -1.0, "items": []}]
VISITS = [{"page": f"/{n}", "seconds": n, "complete": n % 2 == 0} for n in range(5)]


def blocks(marker: str) -> list[str]:
    """The code blocks of the page whose first line is `# marker`, without it."""
    return re.findall(rf"^```\w+\n# {re.escape(marker)}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def merged(parts: list[str]) -> str:
    """Pieces of a topology file as one: what stands under the same key comes together."""
    whole: dict[str, list[str]] = {}
    for line in "".join(parts).splitlines():
        if not line.startswith(" "):
            under = whole.setdefault(line, [])
        else:
            under.append(line)
    return "\n".join(line for key, lines in whole.items() for line in (key, *lines)) + "\n"


def said(directory: Path, settings: dict[str, str]) -> collections.Counter[str]:
    """Check the topology, send the records, run everything to its end: what handlers and tasks printed."""
    checked = ups.command(directory, "check", **settings)
    assert checked.returncode == 0, checked.stderr
    for stream, records in (("orders", ORDERS), ("visits", VISITS)):
        (directory / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
        sent = ups.command(directory, "send", stream, "--file", "records.jsonl", **settings)
        assert sent.returncode == 0, sent.stderr
    ended = ups.command(directory, "up", "--drain", **settings)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    words = "printer|raw|bulk|picky|bury|watched|passed|starting|running"
    line = rf"^(?!runnelctl)[^│\n]*│ ((?:\w+: )?(?:{words})\b.*)$"
    printed = re.findall(line, ended.stdout + ended.stderr, re.MULTILINE)
    return collections.Counter(re.sub(r"^\w+: ", "", line.strip()) for line in printed)


def expected() -> collections.Counter[str]:
    lines = [f"printer {each['order_id']} {each['amount']} {len(each['items'])}" for each in ORDERS]
    lines += [f"bulk {each['order_id']}" for each in ORDERS]
    lines += [f"picky {each['order_id']}" for each in ORDERS if each["amount"] > 0]
    lines += [f"raw {each['page']}" for each in VISITS]
    lines += [f"watched {each['page']} {each['seconds']}" for each in VISITS] + ["passed"] * len(VISITS)
    return collections.Counter([*lines, "starting", "running once"])


def judge(found: collections.Counter[str]) -> None:
    buried = [line for line in found if line.startswith("bury ")]
    assert len(buried) == 1 and found.pop(buried[0]) == 1
    assert found == expected()


def test_a_runnel_app_runs_as_it_is(tmp_path: Path, valkey: Server, app_name: str) -> None:
    (tmp_path / "example.py").write_text("\n\n".join(blocks("Runnel: example.py")))
    made = ups.command(tmp_path, "init", "--from-runnel", "example:app")
    assert made.returncode == 0, made.stderr
    judge(said(tmp_path, {"RUNNELCTL_REDIS": valkey.url, "RUNNELCTL_NAME": app_name}))


def test_its_counterpart_says_the_same(tmp_path: Path, valkey: Server, app_name: str) -> None:
    (tmp_path / "handlers.py").write_text("\n\n".join(blocks("here: handlers.py")))
    (tmp_path / "topology.yaml").write_text(merged(blocks("here: topology.yaml")))
    judge(said(tmp_path, {"RUNNELCTL_REDIS": valkey.url, "RUNNELCTL_NAME": app_name}))
