"""The example of posts and threads: each handler gets right what the facts say, and one is replayed alone."""

from __future__ import annotations

import collections
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import runnelctl
from tests.process import ups
from tests.servers import Server

pytestmark = pytest.mark.process

TOPOLOGIES = ups.REPOSITORY / "topologies"
FILE = TOPOLOGIES / "threads.yaml"


@pytest.fixture
def settings(valkey: Server, app_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    found = {"RUNNELCTL_REDIS": valkey.url, "RUNNELCTL_NAME": app_name}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(TOPOLOGIES))
    yield found


def states(processor: str) -> dict[str, dict[str, Any]]:
    with runnelctl.connect_sync(FILE) as client:
        return dict(client.states(processor))


def expected(facts: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """What summary, search and mail must have, worked out thread by thread."""
    threads: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for each in facts:
        threads[each["thread"]].append(each)
    summaries, indexes, mails = {}, {}, collections.Counter[str]()
    for thread, happened in threads.items():
        texts: dict[str, str] = {}
        for each in happened[1:]:
            context = each["context"]
            if each["type"] == "PostRemoved":
                texts.pop(context["post"], None)
            else:
                texts[context["post"]] = context["text"]
        summaries[thread] = (len(texts), list(dict.fromkeys(each["context"]["by"] for each in happened)))
        if texts:
            indexes[thread] = {post: sorted(set(text.split())) for post, text in texts.items()}
        known: list[str] = []
        for each in happened:
            if each["type"] in ("ThreadOpened", "PostCreated"):
                by = each["context"]["by"]
                mails.update(reader for reader in known if reader != by)
                known += [by] if by not in known else []
    return summaries, indexes, dict(mails)


def judge(facts: list[dict[str, Any]]) -> None:
    summaries, indexes, mails = expected(facts)
    assert {thread: (state["posts"], state["people"]) for thread, state in states("summary").items()} == summaries
    assert states("search") == indexes
    assert {reader: state["mails"] for reader, state in states("mail").items()} == mails


def test_a_morning_and_one_handler_once_more(settings: dict[str, str], valkey: Server, tmp_path: Path) -> None:
    from threads import service  # type: ignore[import-not-found]

    facts = list(service.morning())
    sent = subprocess.run(
        [sys.executable, "-m", "threads.service"], cwd=TOPOLOGIES, env={**os.environ, **ups.environment(**settings)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert sent.stdout == "1,040 facts sent\n", sent.stderr
    ended = ups.command(tmp_path, "up", str(FILE), "--drain", **settings)
    assert ended.returncode == 0, ended.stderr
    judge(facts)
    with redis.Redis.from_url(valkey.url) as client:
        for key in client.scan_iter(f"{{{settings['RUNNELCTL_NAME']}:facts:*:state:search:*"):
            client.delete(key)
    assert states("search") == {}
    again = ups.command(tmp_path, "seek", "search", "--to", "earliest", "--yes", "-t", str(FILE), **settings)
    assert again.returncode == 0, again.stderr
    ended = ups.command(tmp_path, "up", str(FILE), "--drain", **settings)
    assert ended.returncode == 0, ended.stderr
    judge(facts)  # the index is back, and nobody got a mail twice


def test_a_fact_has_no_updated_at(settings: dict[str, str]) -> None:
    from threads import service

    with runnelctl.connect_sync(FILE) as client:
        events = service.SystemEvents(client)
        assert "-" in events.trigger("ThreadOpened", "t", by="ada", title="Why?")
        with pytest.raises(runnelctl.RecordError, match="updated_at"):
            client.send("facts", {**service.fact("ThreadOpened", "t", by="ada"), "updated_at": "now"})
