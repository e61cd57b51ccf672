"""The promises, each as a function from a run's history to sentences about where it was broken. No sentence: it held.

Two laws tie handlers to Redis: what Redis took is what the streams hold at the end (nothing is ever trimmed in these
runs), and an event is an entry, by its id. A send of unknown outcome may thus have none, one or more entries.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from runnelctl.core.model import Partitioner
from runnelctl.core.routing import partition_of
from tests.chaos.history import STREAM_OF, Change, Effect, History, Id, Taken, Unit
from tests.chaos.relay import chain

FATAL = (
    "raise",
    "kill",
    "block",
    "hang",
    "spin",
    "segfault",
    "eat",
)  # misdeeds that must end as dead letters; the others just take long
_SHOWN = 5
#: A handler may outlast its lease by what it took beyond the margin that the runtime keeps, an eighth of a ttl.
_MARGIN = 1 / 8
#: How long after SIGCONT a call counts as begun before SIGSTOP: a process may be stopped between its look at the lease
#: and the handler's first line.
_WAKING_NS = 500_000_000
_QUIET_S = 20.0
_FDS_GROWTH, _RSS_GROWTH = 8, 24 << 20
_RECOVERY_LIMIT_NS = 45_000_000_000

Point = Callable[[History], Iterator[str]]


def loss(history: History) -> Iterator[str]:
    """1. What was acknowledged is in Redis; what is in Redis was handled or is a dead letter; nothing else was."""
    yield from _acknowledged(history)
    yield from _copies(history)
    yield from _told(history)
    done = {(effect.unit, effect.id) for effect in history.effects}
    dead, removed = _dead(history), history.removed
    for processor, stream in STREAM_OF.items():
        entries = {(partition, entry.id): entry for partition, entry in _entries(history, stream)}
        lost = [
            f"{processor}:{partition} {event}" for partition, event in entries
            if ((processor, partition), event) not in done and (processor, partition, event) not in dead
            and not (processor == "sink" and (partition, event) in removed)
        ]  # fmt: skip
        if lost:
            yield f"{len(lost)} event(s) were neither handled nor dead-lettered: {lost[:_SHOWN]}"
        strange = [
            str(effect) for effect in history.effects
            if effect.processor == processor
            and _strange(history, effect, entries.get((effect.partition, effect.id)))
        ]  # fmt: skip
        if strange:
            yield f"{len(strange)} effect(s) of events that Redis does not hold so: {strange[:_SHOWN]}"
        yield from _verdicts(history, processor, entries, done)


def _acknowledged(history: History) -> Iterator[str]:
    stored = {(partition, entry.id): entry for partition, entry in _entries(history, "events") if not entry.raw}
    gone = []
    for (key, seq), sent in history.sent.items():
        partition = partition_of(key, history.partitions, Partitioner.CRC32)
        for number, event in enumerate(sent.acked):
            entry = stored.get((partition, event))
            if entry is None and sent.acked_at and history.forgotten(sent.acked_at[number]):
                continue
            if entry is None or (entry.key, entry.seq) != (key, seq):
                gone.append(f"{key}/{seq} as {event}")
    if gone:
        yield f"{len(gone)} acknowledged event(s) are not in Redis: {gone[:_SHOWN]}"


def _copies(history: History) -> Iterator[str]:
    """One entry per acknowledgement, and at most one more per attempt that nobody knows the outcome of."""
    copies = Counter((entry.key, entry.seq) for _, entry in _entries(history, "events") if not entry.raw)
    wrong = []
    for (key, seq), count in copies.items():
        sent = history.sent.get((key, seq))
        most = 0 if sent is None else len(sent.acked) + sent.doubtful
        if count > most:
            wrong.append(f"{key}/{seq}: {count} entries, {most} can be explained")
    if wrong:
        yield f"{len(wrong)} event(s) are in Redis too often: {wrong[:_SHOWN]}"


def _told(history: History) -> Iterator[str]:
    """Loss is said, with the right number, and only loss is."""
    for action in history.actions:
        if action.get("moved") or action.get("unsaid"):
            yield f"{action['nemesis']}: not stopped where it was: {action['moved']}, unsaid {action['unsaid']}"
        if action.get("passed"):
            yield f"{action['nemesis']}: {len(action['passed'])} removed event(s) were passed over without a word"
        if "said" in action and action["said"] != len(action["lost"]):
            yield f"{action['nemesis']}: {action['said']} event(s) are said to be lost, {len(action['lost'])} are"
    if history.alarms and not history.cuts and not history.removed:
        yield f"Redis is said to have lost something, which it has not: {history.alarms[:_SHOWN]}"


def _strange(history: History, effect: Effect, entry: Taken | None) -> bool:
    if entry is None and history.forgotten(effect.start):
        return False
    return entry is None or entry.raw or (entry.key, entry.seq) != (effect.key, effect.seq)


def _verdicts(
    history: History, processor: str, entries: dict[tuple[int, Id], Taken], done: set[tuple[Unit, Id]]
) -> Iterator[str]:
    """Dead letters: those and only those that asked for it, once, and without an effect."""
    counted = Counter((partition, event) for name, partition, event in _dead_list(history) if name == processor)
    often = [event for event, count in counted.items() if count > 1]
    if often:
        yield f"{len(often)} event(s) of {processor} are more than one dead letter: {often[:_SHOWN]}"
    guilty = {place for place, entry in entries.items() if entry.raw or (entry.do in FATAL and not history.park)}
    innocent = [event for event in counted if event not in guilty]
    if innocent:
        yield f"{len(innocent)} innocent event(s) of {processor} are dead letters: {innocent[:_SHOWN]}"
    guilty -= history.removed
    spared = [place for place in guilty if place not in counted and ((processor, place[0]), place[1]) not in done]
    both = [place for place in guilty if ((processor, place[0]), place[1]) in done]
    if both:
        yield f"{len(both)} event(s) of {processor} had an effect that can't be: {both[:_SHOWN]}"
    if spared:
        yield f"{len(spared)} event(s) of {processor} that can't be handled are no dead letters: {spared[:_SHOWN]}"


def order(history: History) -> Iterator[str]:
    """2. First effects come in the order in which Redis took the events, and that is the order of each key's sends."""
    highest: dict[tuple[Unit, str], Id] = {}
    seen: set[tuple[Unit, Id]] = set()
    for effect in history.effects:
        if (effect.unit, effect.id) in seen:
            continue
        seen.add((effect.unit, effect.id))
        line = (effect.unit, effect.key if history.by_key else "")
        if effect.id < highest.get(line, (0, 0)):
            yield f"first effect after that of a later event: {effect}"
        highest[line] = max(effect.id, highest.get(line, (0, 0)))
    last: dict[str, tuple[int, Id]] = {}
    for (key, seq), sent in sorted(history.sent.items()):
        if sent.acked:
            before = last.get(key)
            if before is not None and min(sent.acked) <= before[1]:
                yield f"{key}/{seq} was taken before {key}/{before[0]}, which was acknowledged first"
            last[key] = (seq, max(sent.acked))


def repeats(history: History) -> Iterator[str]:
    """3. Outside Redis an event is repeated only by a take-over, at its beginning, and within the commit bound."""
    # Of each event its epochs, and when it was last begun.
    known: dict[tuple[Unit, Id], tuple[list[int], int]] = {}
    fresh: set[tuple[Unit, int, str]] = set()
    # Of each epoch: how many events it repeated of which epoch before it.
    repeated: dict[tuple[Unit, int], Counter[int]] = defaultdict(Counter)
    for effect in history.effects:
        run, line = (effect.unit, effect.epoch), (*(effect.unit, effect.epoch), effect.key if history.by_key else "")
        before = known.get((effect.unit, effect.id))
        if before is None:
            known[effect.unit, effect.id] = ([effect.epoch], effect.start)
            fresh.add(line)
            continue
        epochs, last = before
        if not history.again(effect.unit, effect.id, last, effect.start):
            if effect.epoch in epochs:
                yield f"handled twice under one epoch: {effect}"
            elif effect.epoch > max(epochs):
                repeated[run][epochs[-1]] += 1
                if line in fresh:
                    yield f"repeated after fresh events of the same epoch: {effect}"
        epochs.append(effect.epoch)
        known[effect.unit, effect.id] = (epochs, effect.start)
    for (unit, epoch), owners in repeated.items():
        # Owners after each other begin with the same events; with order: key others of them may be done when one dies.
        count = max(owners.values()) if history.at_once else owners.total()
        if count > history.commit_events:
            yield f"{unit} epoch {epoch} repeated {count} events, the bound is {history.commit_events}"
    harm = sum(len(action.get("entries", ())) + 3 * len(action.get("do", ())) + 1 for action in history.actions)
    most = harm * len({effect.unit for effect in history.effects})
    if len(repeated) > most:
        yield f"{len(repeated)} take-overs repeated something, but there were {harm} injections"


def inside(history: History) -> Iterator[str]:
    """3. Inside Redis everything happened exactly once and in order: counters, their chain of ids, emitted records."""
    dead, removed = _dead(history), history.removed
    emitted = Counter((entry.key, entry.of) for _, entry in _entries(history, "echoes"))
    passed: dict[str, list[tuple[int, Taken]]] = defaultdict(list)
    for partition, entry in _entries(history, "events"):
        # With order: key it may have been done out of turn before a stranger removed it: all of it, then, or nothing.
        done = (partition, entry.id) not in removed or (bool(history.at_once) and emitted[entry.key, entry.id] > 0)
        if not entry.raw and ("sink", partition, entry.id) not in dead and done:
            passed[entry.key].append((partition, entry))
    for key, entries in passed.items():
        links = 0
        for _, entry in sorted(entries, key=lambda each: each[1].id):
            links = chain(links, f"{entry.id[0]}-{entry.id[1]}")
        state = history.states.get(key, {})
        if (state.get("n"), state.get("chain")) != (len(entries), links):
            there = f"{state.get('n')} events with chain {state.get('chain')}"
            yield f"the state of {key} is {there}; due {len(entries)} with {links}"
    ghosts = sorted(history.states.keys() - passed.keys())
    if ghosts:
        yield f"{len(ghosts)} state(s) of keys without events: {ghosts[:_SHOWN]}"
    due: Counter[tuple[str, Id | None]] = Counter(
        (k, entry.id) for k, entries in passed.items() for _, entry in entries
    )
    for what, difference in (("emitted too often", emitted - due), ("not emitted", due - emitted)):
        if difference:
            yield f"{difference.total()} record(s) {what}: {list(difference)[:_SHOWN]}"
    for partition, found in history.taken.get("echoes", {}).items():
        last: dict[str, Id] = {}
        for entry in found:
            if entry.of is not None and entry.of < last.get(entry.key, (0, 0)):
                yield f"echoes:{partition}: the record of {entry.key}/{entry.seq} was emitted out of order"
            last[entry.key] = entry.of or (0, 0)


def epochs(history: History) -> Iterator[str]:
    """4. An epoch has one process; after an epoch's effects none of an earlier one, but for calls begun before."""
    process: dict[tuple[Unit, int], tuple[str, int]] = {}
    newest: dict[Unit, int] = {}
    excuses = _Excuses(history)
    for effect in history.effects:
        who = (effect.host, effect.pid)
        if process.setdefault((effect.unit, effect.epoch), who) != who:
            yield f"an epoch with two processes: {effect} and {process[effect.unit, effect.epoch]}"
        if effect.epoch < newest.get(effect.unit, 0) and not excuses.hold(effect):
            yield f"after an effect of epoch {newest[effect.unit]}: {effect}"
        newest[effect.unit] = max(effect.epoch, newest.get(effect.unit, 0))


def fence(history: History) -> Iterator[str]:
    """4, 5. By Redis' own account: every commit is that of the latest lease and follows the one before, epochs rise."""
    leases: dict[Unit, Change] = {}  # the latest lease or commit, while it is known
    newest: dict[Unit, int] = {}
    nonces: dict[tuple[Unit, int], str] = {}
    unsure = bool(history.cuts) and any("jump_s" in action for action in history.actions)
    for change in history.changes:
        unit, before = change.unit, leases.get(change.unit)
        if change.kind == "gap":
            leases.clear()
            continue
        who = f"{unit[0]}:{unit[1]} epoch {change.epoch}"
        if not unsure and nonces.setdefault((unit, change.epoch), change.nonce) != change.nonce:
            yield f"two owners under one epoch: {who} was granted to {nonces[unit, change.epoch]} and {change.nonce}"
        if change.kind == "a":
            if change.epoch <= newest.get(unit, 0) and not unsure:
                yield f"epoch {newest[unit]} was followed by a lease with a lower one: {who}"
            newest[unit] = max(change.epoch, newest.get(unit, 0))
        elif before is not None and (change.epoch, change.nonce) != (before.epoch, before.nonce):
            yield f"a {'commit' if change.kind == 'c' else 'release'} under a lease that was not the latest: {who}"
        elif before is not None and before.kind == "r":
            yield f"a commit after the release: {who}"
        elif change.kind == "c" and before is not None:
            if change.seq != before.seq + 1 or change.expected != before.cursor:
                yield (
                    f"commit {change.seq} from {change.expected} came after commit {before.seq} up to {before.cursor}: "
                    f"{who}"
                )
            if _id(change.cursor) < _id(before.cursor):
                yield f"the cursor went back from {before.cursor} to {change.cursor}: {who}"
        if change.kind != "r":
            leases[unit] = change
        elif before is not None:
            leases[unit] = before._replace(kind="r")


def _id(text: str) -> Id:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq or 0)


def overlap(history: History) -> Iterator[str]:
    """6. Two owners' calls in a partition don't overlap, but where a process was stopped or its call was long."""
    began: dict[tuple[Unit, int], int] = {}
    for effect in history.effects:
        run = (effect.unit, effect.epoch)
        began[run] = min(effect.start, began.get(run, effect.start))
    later: dict[Unit, list[tuple[int, int]]] = defaultdict(list)  # (epoch, from when on anything newer ran), rising
    for (unit, epoch), start in began.items():
        later[unit].append((epoch, start))
    limit: dict[tuple[Unit, int], int] = {}
    for unit, runs in later.items():
        earliest = 1 << 62
        for epoch, start in sorted(runs, reverse=True):
            limit[unit, epoch] = earliest
            earliest = min(earliest, start)
    excuses = _Excuses(history)
    for effect in history.effects:
        newer = limit[effect.unit, effect.epoch]
        if effect.end <= newer:
            continue
        long = effect.start < newer and effect.end - effect.start > history.ttl_ns * _MARGIN
        if not long and not excuses.hold(effect):
            yield f"{(effect.end - newer) / 1e6:.1f} ms into the time of a newer owner: {effect}"


class _Excuses:
    """One call per process, partition and declared pause may end late: it had begun before the pause."""

    def __init__(self, history: History) -> None:
        self._pauses: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._used: Counter[tuple[Unit, int, int]] = Counter()
        self._at_once = max(1, history.at_once) * history.batch
        self._long_ns = history.ttl_ns * _MARGIN
        for action in history.actions:
            for pid in action.get("paused", ()):
                self._pauses[pid].append((action["at"], action["end"]))

    def hold(self, effect: Effect) -> bool:
        for begin, end in self._pauses.get(effect.pid, ()):
            use = (effect.unit, effect.pid, begin)
            near = effect.end >= begin and effect.start <= end + _WAKING_NS
            if near and self._used[use] < self._at_once:
                self._used[use] += 1
                return True
        return effect.end - effect.start > self._long_ns


def counts(history: History) -> Iterator[str]:
    """5. A cursor's count is the number of entries at or below it; at the end that is all of them."""
    for (processor, partition), own in sorted(history.own.items()):
        entries = history.taken[STREAM_OF[processor]][partition]
        cursor = _id(own["cursor"] or "0-0")
        below = sum(entry.id <= cursor for entry in entries)
        if below != int(own["count"] or 0):
            yield f"{processor}:{partition}: count is {own['count']}, {below} entries lie at or below {own['cursor']}"
        if own["owner"] or own["nonce"]:
            yield f"{processor}:{partition}: still owned by {own['owner']} after every host has left"
        if own["block"]:
            yield f"{processor}:{partition}: blocked by {own['block'][:200]}"
        if below < len(entries):
            yield f"{processor}:{partition}: {len(entries) - below} of {len(entries)} entries lie above the cursor"


def recovery(history: History) -> Iterator[str]:
    """7. After every injection every partition that it hit works again within the limit."""
    for nemesis, times in recovered(history).items():
        slow = [ns for ns in times if ns > _RECOVERY_LIMIT_NS]
        if slow:
            yield f"{nemesis}: {len(slow)} partition(s) took up to {max(slow) / 1e9:.1f} s to work again"


def _nemesis(action: dict[str, Any]) -> str:
    name: str = action["nemesis"]
    return name


def recovered(history: History, kind: Callable[[dict[str, Any]], str] = _nemesis) -> dict[str, list[int]]:
    """nemesis (or what `kind` makes of an action) -> ns from each injection to the next call in each partition that it
    hit and no other injection did.

    From its start where another process can take over at once; from its end where nobody can work meanwhile. What the
    processes that it killed did in their last moments is no recovery.
    """
    by_unit: dict[Unit, list[Effect]] = defaultdict(list)
    for effect in sorted(history.effects, key=lambda each: each.start):
        by_unit[effect.unit].append(effect)
    found: dict[str, list[int]] = defaultdict(list)
    for action in history.actions:
        pids = action.get("pids")
        since = action["at"] if pids is not None else action["end"]
        gone = frozenset(pids or ()) if "killed" in action else frozenset[int]()
        for effects in by_unit.values():
            before = _last_before(effects, action["at"])
            if before is None or (pids is not None and effects[before].pid not in pids):
                continue
            later = (each for each in effects[before + 1 :] if each.start >= since and each.pid not in gone)
            after = next(later, None)
            if after is not None and not _crossed(history, action, after.start):
                found[kind(action)].append(after.start - since)
    return dict(found)


def _crossed(history: History, action: dict[str, Any], until: int) -> bool:
    """Whether another injection, or what is left of one, got in between."""
    settled = action["at"] - history.aftermath_ns
    return any(other is not action and other["at"] < until and other["end"] > settled for other in history.actions)


def _last_before(effects: list[Effect], at: int) -> int | None:
    low, high = 0, len(effects)
    while low < high:
        middle = (low + high) // 2
        if effects[middle].start < at:
            low = middle + 1
        else:
            high = middle
    return low - 1 if low else None


def leftovers(history: History) -> Iterator[str]:
    """8. Nobody outlives a host, nobody ends unasked, everything gets done, and processes don't swell."""
    for action in history.actions:
        if action.get("outlived"):
            yield f"{action['nemesis']}: processes {action['outlived']} outlived their supervisor by 5 s"
        if action.get("stuck"):
            yield f"{action['nemesis']}: {action['stuck']} did not end within 40 s of being asked"
        if action.get("undrained"):
            yield f"{action['nemesis']}: not drained while Redis was full: {action['undrained'][:_SHOWN]}"
        if action.get("started"):
            yield f"{action['nemesis']}: a host started on a Redis that may evict keys"
        if not action.get("operator_done", True):
            yield f"{action['nemesis']}: `{action['operator'][0]}` ended with {action['operator'][1]}"
    for host in history.hosts:
        if host["what"] == "end" and not host["fair"]:
            asked = "asked to" if host["asked"] else "unasked"
            yield f"host {host['host']} (pid {host['pid']}) ended with code {host['code']}, {asked}"
    settled, stopped = history.facts.get("settled"), history.facts.get("stopped")
    if settled is None or stopped is None:
        yield "the run did not come to its end"
        return
    if settled["left"]:
        yield f"not everything was handled in the end: {settled['left'][:_SHOWN]}"
    if any(code != 0 for code in settled["producers"]):
        yield f"producers ended with {settled['producers']}"
    if stopped["stuck"] or stopped["orphans"]:
        yield f"hosts {stopped['stuck']} did not end, processes {stopped['orphans']} are left over"
    yield from _swelling(history)
    yield from (f"the product calls it a defect itself: {line}" for line in history.complaints[:_SHOWN])


def _swelling(history: History) -> Iterator[str]:
    """Late samples of a process against early ones; the lower ones of each, since bursts come and go."""
    by_pid: dict[tuple[str, int, str], list[dict[str, int]]] = defaultdict(list)
    for sample in history.samples:
        by_pid[sample["host"], sample["pid"], sample["kind"]].append(sample)
    for (host, pid, kind), samples in by_pid.items():
        steady = [each for each in samples if each["at"] - samples[0]["at"] > 20_000_000_000]
        third = len(steady) // 3
        if third < 5:
            continue
        for what, allowed in (("fds", _FDS_GROWTH), ("rss", _RSS_GROWTH)):
            early, late = (
                sorted(each[what] for each in part)[third // 4] for part in (steady[:third], steady[-third:])
            )
            if late > early + allowed + (early // 4 if what == "rss" else 0):
                yield f"{what} of {kind} (pid {pid}, {host}) grew from {early:,} to {late:,}"


def secrets(history: History) -> Iterator[str]:
    """9. The password of Redis is nowhere to be found."""
    for leak in history.leaks:
        yield f"the password is in {leak}"
    for leak in history.facts.get("stopped", {}).get("secret_in", ()):
        yield f"the password is in Redis' own {leak}"
    for sample in history.samples:
        if sample.get("secret"):
            yield f"the password is in the arguments of {sample['kind']} (pid {sample['pid']})"
            return


POINTS: dict[str, Point] = {
    "loss": loss, "order": order, "repeats": repeats, "inside": inside, "epochs": epochs, "fence": fence,
    "counts": counts, "overlap": overlap, "recovery": recovery, "leftovers": leftovers, "secrets": secrets,
}  # fmt: skip


def _entries(history: History, stream: str) -> Iterator[tuple[int, Taken]]:
    for partition, entries in history.taken.get(stream, {}).items():
        for entry in entries:
            yield partition, entry


def _dead_list(history: History) -> list[tuple[str, int, Id]]:
    found = []
    for letter in history.dead:
        found.append((letter["processor"], int(letter["partition"]), _id(letter["event"])))
    return found


def _dead(history: History) -> set[tuple[str, int, Id]]:
    return set(_dead_list(history))
