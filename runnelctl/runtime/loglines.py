"""Log lines: what a slice or the keeper writes to its stderr, and how the supervisor puts a name before it.

    text   12:21:18 INFO ada has paid        ->  billing.0 │ 12:21:18 INFO ada has paid
    json   {"time":…,"level":…,"message":…}  ->  {"process":"billing.0","time":…,"level":…,"message":…}

With json, a line that is none of ours (a `print`, a library's output) becomes the message of one.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys

from runnelctl.core.model import Log

_TEXT, _CLOCK = "%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"
_OURS = '{"time":"'


class _Json(logging.Formatter):
    """A record as one line. `extra` of a call is left out: it may be anything."""

    def format(self, record: logging.LogRecord) -> str:
        about: dict[str, object] = {
            "time": clock(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        partition = getattr(record, "partition", None)
        if isinstance(partition, int) and partition >= 0:
            about["partition"] = partition
        if record.exc_info:
            about["traceback"] = self.formatException(record.exc_info)
        return json.dumps(about, separators=(",", ":"), default=str)


def configure(log: Log) -> None:
    """Make this process log as the topology says."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log.format == "json" else logging.Formatter(_TEXT, _CLOCK))
    logging.basicConfig(level=log.level.upper(), handlers=[handler])


def clock(seconds: float) -> str:
    """A time as logs have it, in UTC."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def named(process: str, line: str, now: float, level: str = "info") -> str:
    """A line of a process as a JSON object that says whose it is."""
    task, told, rest = line.partition(": ")  # the process of tasks puts the task's name before each line
    if told and rest.startswith(_OURS) and rest.endswith("}"):
        return f'{{"process":{json.dumps(process)},"task":{json.dumps(task)},{rest[1:]}'
    if line.startswith(_OURS) and line.endswith("}"):
        return f'{{"process":{json.dumps(process)},{line[1:]}'
    about = {"process": process, "time": clock(now), "level": level, "message": line}
    return json.dumps(about, separators=(",", ":"), ensure_ascii=False)
