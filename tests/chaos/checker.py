"""Judges a run by its effects file alone: nothing lost, first effects in order, repeats only where explained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Effect:
    """One line that a handler wrote."""

    pid: int
    epoch: int
    partition: int
    key: str
    seq: int
    at_ns: int


@dataclass(slots=True)
class Verdict:
    """What was found. `violations` is empty for a good run."""

    effects: int = 0
    distinct: int = 0
    repeats: int = 0
    longest_repeat: int = 0
    epochs: int = 0
    violations: list[str] = field(default_factory=list)


def read(path: Path) -> list[Effect]:
    """The file's effects, in the order in which they were written."""
    effects = []
    for line in path.read_text().splitlines():
        pid, epoch, partition, key, seq, at_ns = line.split()
        effects.append(Effect(int(pid), int(epoch), int(partition), key, int(seq), int(at_ns)))
    return effects


def judge(
    effects: Iterable[Effect],
    sent: Mapping[str, int],
    *,
    repeat_bound: int,
    missing_ok: Collection[tuple[str, int]] = (),
    pauses: int = 0,
    by_key: bool = False,
) -> Verdict:
    """`sent`: key -> how many events (seq 0, 1, ...). `repeat_bound`: events a death may repeat, per partition.

    `missing_ok`: events that a policy was meant to keep from having an effect. `pauses`: how often a whole host was
    stopped beyond its ttl; the one call per partition that was in a handler then ends late, and no fence can help that.
    `by_key`: keys ran side by side (`order: key`), so what is fresh of one says nothing of another.
    """
    verdict = Verdict()
    seen: dict[str, int] = defaultdict(lambda: -1)  # key -> highest seq that had its first effect
    first_epoch: dict[tuple[str, int], int] = {}
    last_epoch: dict[int, int] = {}
    repeats_in_epoch: dict[tuple[int, int], int] = defaultdict(int)
    fresh_in_epoch: set[tuple[int, int, str]] = set()
    skipped = set(missing_ok)
    late: dict[int, int] = defaultdict(int)
    say = verdict.violations.append
    for effect in effects:
        verdict.effects += 1
        run = (effect.partition, effect.epoch)
        before = last_epoch.get(effect.partition, 0)
        if effect.epoch < before:
            late[effect.partition] += 1
            if late[effect.partition] <= pauses:
                verdict.repeats += 1
                continue
            say(f"an effect under epoch {effect.epoch} of partition {effect.partition} after epoch {before}: {effect}")
        last_epoch[effect.partition] = max(before, effect.epoch)
        event = (effect.key, effect.seq)
        if event in first_epoch:
            verdict.repeats += 1
            repeats_in_epoch[run] += 1
            if first_epoch[event] == effect.epoch:
                say(f"handled twice under one epoch: {effect}")
            if (*run, effect.key if by_key else "") in fresh_in_epoch:
                say(f"a repeat after fresh events under one epoch: {effect}")
            continue
        first_epoch[event] = effect.epoch
        fresh_in_epoch.add((*run, effect.key if by_key else ""))
        expected = seen[effect.key] + 1
        while (effect.key, expected) in skipped:
            expected += 1
        if effect.seq != expected:
            say(f"key {effect.key}: first effect of {effect.seq} where {expected} was due")
        seen[effect.key] = max(seen[effect.key], effect.seq)
    verdict.distinct = len(first_epoch)
    verdict.epochs = len({(partition, epoch) for partition, epoch, _ in fresh_in_epoch})
    verdict.longest_repeat = max(repeats_in_epoch.values(), default=0)
    if verdict.longest_repeat > repeat_bound:
        say(f"{verdict.longest_repeat} events repeated by one take-over, the bound is {repeat_bound}")
    lost = [
        (key, seq)
        for key, count in sent.items()
        for seq in range(count)
        if (key, seq) not in first_epoch and (key, seq) not in skipped
    ]
    if lost:
        say(f"{len(lost)} event(s) without an effect, such as {lost[:5]}")
    unwanted = [event for event in skipped if event in first_epoch]
    if unwanted:
        say(f"{len(unwanted)} event(s) had an effect that they should not have, such as {unwanted[:5]}")
    return verdict
