"""From a Runnel app to the text of a topology file, and what of it has no counterpart."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from runnelctl.runnel import record as records
from runnelctl.runnel.apps import App, Declared, DeclaredTask, Stream
from runnelctl.runnel.compression import LZ4, Gzip
from runnelctl.runnel.constants import ExceptionPolicy
from runnelctl.runnel.serialization import JSONSerializer

#: Settings that the topology file has no need of, and why.
_NOT_NEEDED = {
    "read_timeout": "nothing is polled",
    "prefetch_count": "reads are as large as memory and the handler's speed allow",
    "assignment_attempts": "a host that cannot get its partitions goes on asking",
    "assignment_sleep": "hosts tell each other at once",
    "pool_size": "one connection reads for a whole process",
    "join_delay": "only what must move moves, so hosts may join one by one",
}


@dataclass
class Translation:
    """The text of a topology file, and notes for the person who reads it."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def translate(app: App, source: str) -> Translation:
    """The topology of `app`, which was found at `source` ("module:attribute")."""
    result = Translation()
    add, note = result.lines.append, result.notes.append
    add(f"# Made from the Runnel app {source} by `runnelctl init --from-runnel`. The handlers run as they are.")
    add(f"name: {app.name}")
    add(f"redis: ${{REDIS_URL:-{_redis(app)}}}")
    add("pythonpath: [.]")
    if app.setting("autodiscover"):
        add(f'discover: ["{app.setting("autodiscover")}"]')
    add("")
    add("streams:")
    for stream in _streams(app):
        result.lines += _stream(stream, note)
    if app.processors:
        add("")
        add("processors:")
    for processor in app.processors:
        result.lines += _processor(processor, note)
    if app.tasks:
        add("")
        add("tasks:")
    for task in app.tasks:
        result.lines += _task(task, note)
    result.lines += _bounds(app)
    return result


def _redis(app: App) -> str:
    url = str(app.setting("redis_url"))
    return url if "://" in url else f"redis://{url}"


def _streams(app: App) -> Iterator[Stream]:
    """Those that are declared; of a dead-letter sink only if a processor writes to it or reads it."""
    sinks = {each.dead_letter.name for each in app.processors if each.dead_letter is not None}
    read = {each.stream.name for each in app.processors}
    for stream in app.streams.values():
        if not stream.name.startswith("dead.") or stream.name in sinks | read:
            yield stream


def _stream(stream: Stream, note: Any) -> Iterator[str]:
    dead = stream.name.startswith("dead.")
    yield f"  {stream.name}:"
    yield f"    partitions: {stream.partition_count}"
    if dead:
        yield "    validate: never"
    elif isinstance(stream.partition_by, str):
        yield f"    key: {stream.partition_by}"
    else:
        name = getattr(stream.partition_by, "__name__", "a function")
        note(f"stream {stream.name}: partition_by is {name}(), and a file can only name a field: put its result into a")
        note(f"  field of {stream.record.__name__}, and write that field as the stream's key")
        yield "    # key: the field that holds what partition_by computed"
    if dead:
        return  # its records are those that failed, whatever they are; the reasons are in their headers
    path, record = _path(stream.record), stream.record.__name__
    if path is None:
        note(f"stream {stream.name}: {record} is made inside a function: move it to a module's top level")
    else:
        yield f"    record: {path}"
    if records.is_primitive(stream.record):
        yield "    codec: fields"
    yield from _serializer(stream, note)
    yield f"    retention: {{events: {stream.partition_size}}}  # but no event that a processor has not passed"
    if stream.hasher is not None:
        note(f"stream {stream.name}: its hasher is not carried over; see partitioner in the guide")


def _serializer(stream: Stream, note: Any) -> Iterator[str]:
    serializer = stream.serializer
    if serializer is None:
        return
    if not isinstance(serializer, JSONSerializer):
        note(f"stream {stream.name}: serializer {type(serializer).__name__} is not carried over; see the guide")
    compressor = getattr(serializer, "compressor", None)
    if isinstance(compressor, Gzip):
        yield "    compression: gzip"
    elif isinstance(compressor, LZ4):
        yield "    compression: lz4"
    elif compressor is not None:
        note(f"stream {stream.name}: compressor {type(compressor).__name__} is not carried over; see the guide")


def _processor(processor: Declared, note: Any) -> Iterator[str]:
    path = _path(processor.function)
    yield f"  {processor.name}:"
    yield f"    stream: {processor.stream.name}"
    if path is None:
        note(f"processor {processor.name}: its function is made inside another: move it to a module's top level")
        path = f"{processor.function.__module__}:{processor.function.__name__}"
    yield f"    handler: {path}"
    yield f"    policy: {processor.policy.value.upper()}"
    # Runnel knows no attempts: a failure meets the policy at once.
    yield "    retry: {attempts: 1}"
    if processor.dead_letter is not None:
        yield f"    dead_letter: {processor.dead_letter.name}"
        if processor.policy is not ExceptionPolicy.IGNORE:
            note(f"processor {processor.name}: dead letters are written under IGNORE only")
    if processor.middleware:
        yield f"    middleware: [{', '.join(f'{path}.{attribute}' for attribute in processor.middleware)}]"
    for name in processor.settings:
        if name in _NOT_NEEDED:
            note(f"processor {processor.name}: {name} is not needed: {_NOT_NEEDED[name]}")


def _task(task: DeclaredTask, note: Any) -> Iterator[str]:
    name, path = task.function.__name__, _path(task.function)
    if path is None:
        note(f"task {name}: its function is made inside another: move it to a module's top level")
        path = f"{task.function.__module__}:{name}"
    when = "on: start"
    if task.interval_s is not None:
        when = f"every: {round(task.interval_s * 1000)}ms"
    elif task.cron is not None:
        when = f'cron: "{task.cron}"' + (f", timezone: {task.timezone}" if task.timezone is not None else "")
    leader = ", leader: true" if task.on_leader else ""
    yield f"  {name}: {{run: {path}, {when}{leader}}}"


def _bounds(app: App) -> Iterator[str]:
    """The longest lock and grace that were asked for; Runnel's own defaults are not worth keeping."""
    given = [processor.settings for processor in app.processors]
    defaults = {name.removeprefix("default_"): value for name, value in app.settings.items()}
    locks = [float(each["lock_expiry"]) for each in [*given, defaults] if each.get("lock_expiry")]
    graces = [float(each["grace_period"]) for each in [*given, defaults] if each.get("grace_period")]
    if locks or graces:
        yield ""
    if locks:
        yield f"lease: {{ttl: {max(locks):g}s}}  # lock_expiry; 6s is usual here, as a busy handler never costs a lease"
    if graces:
        yield f"drain: {max(graces):g}s  # grace_period"
    if app.setting("log_level"):
        yield f"log: {{level: {str(app.setting('log_level')).lower()}}}"


def _path(target: Any) -> str | None:
    """`module:attribute`; None for what no module holds by its name."""
    module, name = inspect.getmodule(target), target.__qualname__
    return None if module is None or "<locals>" in name else f"{module.__name__}:{name}"
