"""What `status` shows of tasks: what each host reports of them, put together. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from runnelctl.core import schedule
from runnelctl.core.model import Task
from runnelctl.core.reading import Reading, TaskReport


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """A task on all hosts together. `host` is the leader of one that has a leader, else the one that runs it now, or
    ran it last; times are ms of the hosts' clocks. Counts are since the `up` of the hosts there are."""

    name: str
    schedule: str
    leader: bool
    host: str | None
    next_ms: int | None
    last_run_ms: int | None
    last_outcome: str | None
    last_took_ms: int | None
    running_since_ms: int | None
    runs: int
    failures: int
    skipped: int


def judge(tasks: Collection[Task], reading: Reading, beating: Collection[str]) -> tuple[TaskStatus, ...]:
    """The status of every task of the topology, as the members that beat report it."""
    found: dict[str, list[tuple[str, TaskReport]]] = {}
    for member in sorted(beating):
        report = reading.reports.get(member)
        for each in report.tasks if report is not None else ():
            found.setdefault(each.task, []).append((member, each))
    return tuple(_judge(task, found.get(task.name, []), reading.server_ms) for task in tasks)


def _judge(task: Task, reports: list[tuple[str, TaskReport]], server_ms: int) -> TaskStatus:
    last = max(reports, key=lambda pair: pair[1].ran_at or 0, default=None)
    running = [(member, each) for member, each in reports if each.running_ms is not None]
    leading = [member for member, each in reports if each.leads]
    told = [each for each in [last[1]] if each.ran_at] if last else []
    shown = leading if task.leader else [member for member, _ in running] or ([last[0]] if told and last else [])
    return TaskStatus(
        name=task.name,
        schedule=schedule.words(task),
        leader=task.leader,
        host=shown[0].rsplit(":", 1)[0] if shown else None,
        next_ms=min((each.next for _, each in reports if each.next is not None), default=None),
        last_run_ms=told[0].ran_at if told else None,
        last_outcome=told[0].outcome if told else None,
        last_took_ms=told[0].took_ms if told else None,
        running_since_ms=server_ms - max(each.running_ms or 0 for _, each in running) if running else None,
        runs=sum(each.runs for _, each in reports),
        failures=sum(each.failures for _, each in reports),
        skipped=sum(each.skipped for _, each in reports),
    )
