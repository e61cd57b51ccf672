"""`status --json`: the fields of SPEC section 6, by name and type."""

from __future__ import annotations

import json
from dataclasses import replace

from runnelctl.cli.snapshots import document
from runnelctl.core.model import Policy
from runnelctl.core.status import ProcessorStatus, Snapshot, State
from tests.unit.cli.test_table import ROW, WEB_1


def test_it_is_the_contract() -> None:
    snapshot = Snapshot(
        1_763_791_234_567, (WEB_1,), (ProcessorStatus("billing", Policy.QUARANTINE, State.RUNNING, (ROW,)),)
    )
    found = document(snapshot, "shop", "redis://:***@db:6379/0")
    assert json.loads(json.dumps(found)) == {
        "schema_version": 1, "topology": "shop", "redis": "redis://:***@db:6379/0", "at": "2025-11-22T06:00:34.567Z",
        "hosts": [
            {"host": "web-1:4711", "pid": 4711, "beat_age_ms": 120, "slices": 4, "beating": True, "stopping": False}
        ],
        "processors": {"billing": {"policy": "QUARANTINE", "state": "running", "partitions": [
            {"partition": 0, "state": "running", "host": "web-1:4711", "pid": 4720, "slice": "billing.0",
             "epoch": 1763791234567, "cursor": "1763791234567-0", "lag": 0, "lag_ms": 0, "processed": 1200,
             "failed": 0, "rate": 210.5, "p99_ms": 1.2, "restarts": 0, "parked_keys": 0, "parked_events": 0,
             "error": None, "why": ""}
        ]}},
        "tasks": {},
    }  # fmt: skip


def test_what_a_failover_took_is_shown() -> None:
    row = replace(ROW, lost=3, undone=2)
    snapshot = Snapshot(0, (), (ProcessorStatus("billing", Policy.QUARANTINE, State.RUNNING, (row,)),))
    (found,) = document(snapshot, "shop", "")["processors"]["billing"]["partitions"]
    assert (found["lost"], found["undone"]) == (3, 2)


def test_a_large_payload_is_cut_and_the_record_kept() -> None:
    record = {"event": "1-0", "payload": "x" * 5_000, "message": "m" * 5_000}
    row = replace(ROW, error=record, state=State.QUARANTINED)
    snapshot = Snapshot(0, (), (ProcessorStatus("billing", Policy.QUARANTINE, State.QUARANTINED, (row,)),))
    error = document(snapshot, "shop", "")["processors"]["billing"]["partitions"][0]["error"]
    assert error == {"event": "1-0", "payload": "x" * 1_024, "message": "m" * 5_000}
    assert len(record["payload"]) == 5_000
