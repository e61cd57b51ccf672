"""The `tasks` of a topology file: from the checked tree to Tasks, and what only meaning can tell to be wrong."""

from __future__ import annotations

import zoneinfo
from collections.abc import Collection

from runnelctl.core import model
from runnelctl.topology.nodes import Findings, Mapping, Scalar, plain_value
from runnelctl.topology.section import Section
from runnelctl.topology.wording import did_you_mean

_TRIGGERS = ("on", "every", "cron")


def tasks(root: Section, processors: Collection[str], findings: Findings) -> dict[str, model.Task]:
    """The tasks of a file, each checked for itself and against the names of the processors."""
    node = root.node("tasks")
    found = {}
    for name, entry in node.entries.items() if isinstance(node, Mapping) else ():
        assert isinstance(node, Mapping)
        if name in processors:
            findings.problem(node.key_places[name], f"{name!r} is a processor already: a task needs a name of its own")
        if isinstance(entry, Mapping) and not entry.wrong:
            found[name] = _task(name, entry, findings)
    return found


def runs(root: Section) -> list[Scalar]:
    """Where the file names what tasks run."""
    node = root.node("tasks")
    entries = node.entries.values() if isinstance(node, Mapping) else ()
    found = [Section(root.findings, entry).scalar("run") for entry in entries]
    return [scalar for scalar in found if scalar is not None]


def _task(name: str, node: Mapping, findings: Findings) -> model.Task:
    section = Section(findings, node)
    given = [key for key in _TRIGGERS if section.has(key)]
    if len(given) != 1:
        listed = f"it has {' and '.join(given)}" if given else "it has none"
        findings.problem(node.place, f"task {name!r} needs exactly one of on, every and cron; {listed}")
    zone = _zone(section, findings)
    return model.Task(
        name=name,
        run=section.text("run") or "",
        on_start=section.has("on"),
        every_ms=section.duration_ms("every", 0) or None,
        cron=_cron(section, findings),
        timezone=zone,
        leader=_flag(section, "leader"),
        overlap=section.choice("overlap", model.Overlap, model.Overlap.SKIP),
        timeout_ms=section.duration_ms("timeout", 0) or None,
    )


def _flag(section: Section, key: str) -> bool:
    scalar = section.scalar(key)
    value = None if scalar is None else plain_value(scalar.text) if scalar.interpolated else scalar.value
    return value is True


def _cron(section: Section, findings: Findings) -> str | None:
    scalar = section.scalar("cron")
    if scalar is None:
        return None
    mistake = cron_mistake(scalar.text)
    if mistake:
        findings.wrong(scalar, mistake)
    return scalar.text


def cron_mistake(expression: str) -> str | None:
    """What is wrong with a cron expression, in a sentence; None for a good one."""
    import datetime

    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(expression, datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)))
    except StopIteration:
        return f"cron {expression!r} never fires"
    except CronSimError as error:
        if _has_its_parts(expression):
            return f"cron {expression!r} never fires: none of its months has such a day"
        what = str(error)[:1].lower() + str(error)[1:]
        return (
            f"cron {expression!r}: {what}; it takes minute, hour, day of month, month and day of week, "
            'such as "45 17 * * *"'
        )
    return None


def _has_its_parts(expression: str) -> bool:
    """Whether an expression that is no good would be, if every month had 31 days."""
    import datetime

    from cronsim import CronSim, CronSimError

    parts = expression.split()
    if len(parts) not in (5, 6) or parts[-2] == "*":
        return False
    try:
        CronSim(" ".join([*parts[:-2], "*", parts[-1]]), datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
        CronSim(" ".join([*parts[:-3], "*", *parts[-2:]]), datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
    except CronSimError:
        return False
    return True


def _zone(section: Section, findings: Findings) -> str:
    scalar = section.scalar("timezone")
    if scalar is None:
        return "UTC"
    if not section.has("cron"):
        findings.warning(scalar.place, "timezone means something with cron only")
    if not _is_zone(scalar):
        near = did_you_mean(scalar.text, zoneinfo.available_timezones())
        advice = near or ("" if zoneinfo.available_timezones() else "; no time zones are installed here: add tzdata")
        findings.wrong(scalar, f"there is no time zone {scalar.text!r}{advice}")
    return scalar.text


def _is_zone(scalar: Scalar) -> bool:
    if scalar.text == "UTC":
        return True
    try:
        zoneinfo.ZoneInfo(scalar.text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
