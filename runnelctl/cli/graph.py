"""`runnelctl graph`: a picture of a topology, as text, or in the words of Mermaid or Graphviz."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from runnelctl import topology
from runnelctl.cli import options
from runnelctl.core import schedule
from runnelctl.core.model import Processor, Stream, Task, Topology

Item = TypeVar("Item", Stream, Processor, Task)


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a stream to a processor that reads it, or from a processor to the stream of its dead letters."""

    source: str
    target: str
    label: str = ""


@click.command()
@options.topology_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid", "dot"]),
    default="text",
    show_default=True,
    help="text for people; mermaid for Markdown pages; dot for Graphviz.",
)
def command(file: Path, form: str) -> None:
    """Draw the topology: streams, the processors that read them, where their dead letters go, and tasks.

    What a handler emits is not in the file, so it is not in the picture.
    """
    click.echo(FORMS[form](topology.load(file)))


def arrows(of: Topology) -> Iterator[Arrow]:
    """Every arrow of the picture, between `stream:NAME` and `processor:NAME`."""
    for processor in of.processors.values():
        yield Arrow(f"stream:{processor.stream}", f"processor:{processor.name}")
        if processor.dead_letter is not None:
            yield Arrow(f"processor:{processor.name}", f"stream:{processor.dead_letter}", "dead letters")


def text(of: Topology) -> str:
    """A tree for each stream, and one for the tasks."""
    lines = [of.name]
    for at_end, stream in _marked(list(of.streams.values())):
        last = at_end and not of.tasks
        lines.append(f"{'└─' if last else '├─'} {stream.name}  ({_about_stream(stream)})")
        readers = [each for each in of.processors.values() if each.stream == stream.name]
        for lowest, processor in _marked(readers):
            dead = f"; dead letters to {processor.dead_letter}" if processor.dead_letter else ""
            stem = f"{'   ' if last else '│  '}{'└─▶' if lowest else '├─▶'}"
            lines.append(f"{stem} {processor.name}  {processor.handler}  ({_about(processor)}{dead})")
    if of.tasks:
        lines.append("└─ tasks")
    for lowest, task in _marked(list(of.tasks.values())):
        lines.append(f"   {'└─▶' if lowest else '├─▶'} {task.name}  {task.run}  ({_about_task(task)})")
    return "\n".join(lines)


def mermaid(of: Topology) -> str:
    """A flowchart as GitHub and many others draw it inside a ```mermaid block."""
    names = _numbered(of)
    lines = ["flowchart LR"]
    lines += [
        f'  {names[f"stream:{each.name}"]}[("{each.name}<br>{_about_stream(each)}")]' for each in of.streams.values()
    ]
    lines += [
        f'  {names[f"processor:{each.name}"]}["{each.name}<br>{_about(each)}"]' for each in of.processors.values()
    ]
    for at, task in enumerate(of.tasks.values()):
        lines.append(f'  t{at}(["{task.name}<br>{_about_task(task)}"])')
    for arrow in arrows(of):
        line = f"-. {arrow.label} .->" if arrow.label else "-->"
        lines.append(f"  {names[arrow.source]} {line} {names[arrow.target]}")
    return "\n".join(lines)


def dot(of: Topology) -> str:
    """A digraph for Graphviz."""
    lines = [f"digraph {_quoted(of.name)} {{", "  rankdir=LR;"]
    for stream in of.streams.values():
        label = _quoted(f"{stream.name}\\n{_about_stream(stream)}")
        lines.append(f"  {_quoted(f'stream:{stream.name}')} [shape=cylinder, label={label}];")
    for processor in of.processors.values():
        label = _quoted(f"{processor.name}\\n{_about(processor)}")
        lines.append(f"  {_quoted(f'processor:{processor.name}')} [shape=box, label={label}];")
    for task in of.tasks.values():
        label = _quoted(f"{task.name}\\n{_about_task(task)}")
        lines.append(f"  {_quoted(f'task:{task.name}')} [shape=ellipse, label={label}];")
    for arrow in arrows(of):
        style = f" [style=dashed, label={_quoted(arrow.label)}]" if arrow.label else ""
        lines.append(f"  {_quoted(arrow.source)} -> {_quoted(arrow.target)}{style};")
    return "\n".join([*lines, "}"])


FORMS: dict[str, Callable[[Topology], str]] = {"text": text, "mermaid": mermaid, "dot": dot}


def _marked(items: list[Item]) -> Iterator[tuple[bool, Item]]:
    """Each with whether it is the last."""
    return ((at == len(items) - 1, item) for at, item in enumerate(items))


def _numbered(of: Topology) -> dict[str, str]:
    """Short names: those of a topology may be words that Mermaid keeps for itself, such as `end`."""
    streams = {f"stream:{name}": f"s{at}" for at, name in enumerate(of.streams)}
    return streams | {f"processor:{name}": f"p{at}" for at, name in enumerate(of.processors)}


def _about_stream(stream: Stream) -> str:
    key = f", key {stream.key}" if stream.key else ""
    return f"{stream.partitions} partition{'s' if stream.partitions != 1 else ''}{key}"


def _about(processor: Processor) -> str:
    batch = f", batches of {processor.batch.size}" if processor.batch else ""
    return f"x{processor.processes}, {processor.policy.value}{batch}"


def _about_task(task: Task) -> str:
    return schedule.words(task) + (", leader" if task.leader else "")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'
