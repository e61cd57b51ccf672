"""A snapshot as the JSON that scripts rely on (SPEC section 6). Fields are added, never changed or taken away."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from runnelctl.core.reading import Record
from runnelctl.core.status import HostStatus, PartitionStatus, Snapshot
from runnelctl.core.taskstatus import TaskStatus

SCHEMA_VERSION = 1
PAYLOAD_SHOWN = 1024  # characters; the whole one is `replay`'s to show


def document(snapshot: Snapshot, topology: str, redis: str) -> dict[str, Any]:
    """Everything `status` knows; `redis` is the server's URL without its password."""
    return {
        "schema_version": SCHEMA_VERSION,
        "topology": topology,
        "redis": redis,
        "at": moment(snapshot.server_ms),
        "hosts": [_host(host) for host in snapshot.hosts],
        "processors": {
            each.name: {
                "policy": each.policy.value,
                "state": each.state.value,
                "partitions": [_partition(partition) for partition in each.partitions],
            }
            for each in snapshot.processors
        },
        "tasks": {each.name: _task(each) for each in snapshot.tasks},
    }


def _task(task: TaskStatus) -> dict[str, Any]:
    return {
        "schedule": task.schedule,
        "leader": task.leader,
        "host": task.host,
        "next": moment(task.next_ms),
        "last_run": moment(task.last_run_ms),
        "last_outcome": task.last_outcome,
        "last_took_ms": task.last_took_ms,
        "running_since": moment(task.running_since_ms),
        "runs": task.runs,
        "failures": task.failures,
        "skipped": task.skipped,
    }


def moment(ms: int | None) -> str | None:
    """Milliseconds since 1970 as `2026-11-24T17:45:00.000Z`; None for none."""
    if ms is None:
        return None
    at = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _host(host: HostStatus) -> dict[str, Any]:
    return dataclasses.asdict(host)


def _partition(row: PartitionStatus) -> dict[str, Any]:
    found = {field.name: getattr(row, field.name) for field in dataclasses.fields(row) if field.name != "processor"}
    if not row.lost and not row.undone:  # a failover is seldom, and these two are about nothing else
        del found["lost"], found["undone"]
    return found | {
        "state": row.state.value,
        "rate": round(row.rate, 1),
        "p99_ms": None if row.p99_ms is None else round(row.p99_ms, 3),
        "error": None if row.error is None else _shortened(row.error),
    }


def _shortened(record: Record) -> Record:
    payload = record.get("payload")
    return record | {"payload": payload[:PAYLOAD_SHOWN]} if isinstance(payload, str) else record
