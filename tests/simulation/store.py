"""The Lua scripts again in Python, key for key and reply for reply: the store of the simulation.

A twin that were wrong would prove nothing. So tests/integration/store/test_twin.py makes the same calls here and on
real servers and compares every reply and everything that is then stored.

Each check of a script is a method of its own, so that a mutant can drop it (mutants.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.streams import Exhausted, Id, Stream, parse, text_of

Reply = Any
_CLEAN = {"tries": "0", "suspect": "0", "sure": "0", "death": ""}


class Refused(Exception):
    """An error reply."""


class Store:
    """See the module. `now_ms` is the server's clock."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.data: dict[str, Any] = {}

    def run(self, name: str, keys: Sequence[str], args: Sequence[str]) -> Reply:
        """Run a script by its name; numbers come and go as text, as over the wire."""
        return getattr(self, name)(keys, args)

    def snapshot(self) -> dict[str, Any]:
        """All that is stored, to be put back by `restore`."""
        return {name: value if isinstance(value, str) else value.copy() for name, value in self.data.items()}

    def restore(self, data: dict[str, Any]) -> None:
        self.data = data

    def hash(self, name: str) -> dict[str, str]:
        """For reading; an absent one is empty."""
        found: dict[str, str] = self.data.get(name, {})
        return found

    def stream(self, name: str) -> Stream | None:
        found: Stream | None = self.data.get(name)
        return found

    def _hset(self, name: str, **fields: str) -> dict[str, str]:
        own: dict[str, str] = self.data.setdefault(name, {})
        own.update(fields)
        return own

    def _fresh_epoch(self, own: dict[str, str]) -> str:
        return str(max(int(own.get("epoch", "0")) + 1, self.now_ms()))

    def _set_group(self, events: str, group: str, cursor: str, count: int) -> None:
        """XGROUP SETID, of which nobody minds if it fails."""
        stream = self.stream(events)
        if stream is not None and group in stream.groups:
            stream.groups[group] = (parse(cursor), count)

    # --- leases -----------------------------------------------------------------------------------------------

    def lease_acquire(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        nonce, owner, dead, start, group = args
        own, stream = self.hash(keys[0]), self.stream(keys[1])
        if own.get("nonce", "") != nonce or not nonce:
            if "block" in own:
                return ["BLOCKED", own["block"]]
            if self._busy(own, dead):
                return ["BUSY", own["owner"]]
            self._grant(keys, own, stream, nonce, owner, start, group)
        own, stream = self.hash(keys[0]), self.stream(keys[1])
        lost = max(0, (stream.gone if stream else 0) - int(own["count"]))
        return ["OK", own["epoch"], own["cursor"], own["count"], own["tries"], own["suspect"], str(lost)]

    def _busy(self, own: dict[str, str], dead: str) -> bool:
        return own.get("nonce", "") not in ("", dead)

    def _grant(
        self, keys: Sequence[str], own: dict[str, str], stream: Stream | None, nonce: str, owner: str, start: str,
        group: str,
    ) -> None:  # fmt: skip
        epoch = self._fresh_epoch(own)
        cursor, count = own.get("cursor"), int(own.get("count", "0"))
        if cursor is None:
            latest = start == "latest"
            cursor = text_of(stream.last) if latest and stream else "0-0"
            count = (stream.added if latest else stream.gone) if stream else 0
        tries, suspect, more = int(own.get("tries", "0")), int(own.get("suspect", "0")), {}
        ours = own.get("owner", "").rpartition("/")[0] == owner.rpartition("/")[0]
        never_let_go = own.get("nonce", "") != "" and not ours and own.get("from") == cursor and suspect <= count + 1
        if never_let_go and stream and stream.after(parse(cursor), 1):
            if suspect != count + 1:
                tries, suspect, more = 1, count + 1, {"sure": "0"}
            elif own.get("seq") != "0":
                tries, more = tries + 1, {"sure": "2" if own.get("sure", "0") == "0" else "1"}
        self._hset(
            keys[0], epoch=epoch, nonce=nonce, owner=owner, cursor=cursor, count=str(count), seq="0", tries=str(tries),
            suspect=str(suspect), **{"from": cursor}, **more,
        )  # fmt: skip
        stream = self.data.setdefault(keys[1], Stream())
        stream.groups.setdefault(group, (parse(cursor), count))

    def lease_release(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        epoch, nonce, first, last, sure, death = args
        own = self.hash(keys[0])
        if not self._may_release(own, epoch, nonce):
            return 0
        self._hset(keys[0], nonce="", owner="")
        if first == "0":  # a parked event that was being replayed
            own = self._hset(keys[0], replay_tries=str(int(own.get("replay_tries", "0")) + 1), replay_death=death)
            if sure == "1":
                own["replay_sure"] = "1"
        elif first and int(first) > int(own.get("count", "0")):
            tries = 1
            if own.get("suspect") == first:
                tries = int(own.get("tries", "0")) + 1
                sure = "1" if own.get("sure") == "1" else sure
            self._hset(keys[0], tries=str(tries), suspect=first, alone=last, sure=sure, death=death)
        return 1

    def _may_release(self, own: dict[str, str], epoch: str, nonce: str) -> bool:
        return own.get("epoch") == epoch and own.get("nonce") == nonce

    # --- the fence --------------------------------------------------------------------------------------------

    def commit(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        epoch, nonce, seq, expected, new, n_text, group, release, block = args[:9]
        own, stream, n = self.hash(keys[0]), self.stream(keys[1]), int(n_text)
        if own.get("epoch") == epoch and own.get("nonce") == "" and own.get("seq") == seq:
            return ["ALREADY"]
        if self._stranger(own, epoch, nonce):
            return ["FENCED", own.get("epoch", ""), own.get("owner", "")]
        if self._repeated(own, int(seq)):
            return ["ALREADY"]
        if self._out_of_step(own, int(seq), expected):
            return ["CURSOR", own["cursor"]]
        if n > 0:
            if self._unknown(stream, parse(new)):
                return ["HISTORY"]
            if (lost := self._trimmed(own, stream)) > 0:
                return ["TRIMMED", str(lost)]
        counted = n > 0 and stream is not None and _holes(own, stream)
        effects = _effects(keys, args[9:])
        checked: set[str] = set()
        for op, name, limit, _ in effects:
            if name in checked:  # as the script does it: what the first effect on a key found holds for the others
                continue
            checked.add(name)
            if refusal := self._refusal(op, name, int(limit) if op == "X" else 0):
                return refusal
        self._apply(effects)
        count = int(own["count"]) + n
        if own["suspect"] != "0" and count >= int(own["suspect"]):
            self._hset(keys[0], **_CLEAN)
        self._hset(keys[0], cursor=new, count=str(count), seq=seq)
        if counted and stream is not None:
            self._hset(keys[0], deleted=_mark(stream))
        if block:
            self._hset(keys[0], block=block)
        if release == "1":
            self._hset(keys[0], nonce="", owner="")
        if n > 0:
            self._set_group(keys[1], group, new, count)
        return ["OK"]

    def _stranger(self, own: dict[str, str], epoch: str, nonce: str) -> bool:
        return own.get("epoch") != epoch or own.get("nonce") != nonce

    def _repeated(self, own: dict[str, str], seq: int) -> bool:
        return seq == int(own["seq"])

    def _out_of_step(self, own: dict[str, str], seq: int, expected: str) -> bool:
        return seq != int(own["seq"]) + 1 or own["cursor"] != expected

    def _unknown(self, stream: Stream | None, new: Id) -> bool:
        return stream is None or not stream.has(new)

    def _trimmed(self, own: dict[str, str], stream: Stream | None) -> int:
        assert stream is not None
        gone, count = stream.gone - int(own["count"]), int(own["count"])
        if gone > 0 or _holes(own, stream):
            gone = max(gone, stream.added - count - stream.behind(parse(own["cursor"])))
        return gone

    def _refusal(self, op: str, name: str, limit: int) -> Reply:
        """Why this effect can't be, or None."""
        there = self.data.get(name)
        if there is None:
            return None
        if not isinstance(there, Stream if op in "XL" else str):
            return ["TYPE", name]
        if not isinstance(there, Stream):
            return None
        if there.last[0] == 2**64 - 1:
            return ["POISONED", name]
        if limit == 0 or there.length < limit:
            return None
        read = min((read for _, read in there.groups.values()), default=None)
        return ["FULL", name] if read is None or there.added - min(read, there.added) >= limit else None

    def _apply(self, effects: list[tuple[str, str, str, tuple[str, ...]]]) -> None:
        for op, name, value, fields in effects:
            if op in "XL":
                self.data.setdefault(name, Stream()).add(fields, self.now_ms())
            elif op == "S":
                self.data[name] = value
            else:
                self.data.pop(name, None)

    # --- operators --------------------------------------------------------------------------------------------

    def block_clear(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        event, mended, accept = args
        own, stream = self.hash(keys[0]), self.stream(keys[1])
        if refusal := self._not_this_block(own, event):
            return refusal
        del own["block"]
        self._hset(keys[0], **_CLEAN)
        if mended:
            self._hset(keys[0], edit_id=event, edit=mended)
        if accept == "1" and stream is not None:
            passed = stream.added - stream.behind(parse(own.get("cursor", "0-0")))
            count = str(max(int(own.get("count", "0")), passed))
            self._hset(keys[0], count=count, deleted=_mark(stream))
        return ["OK"]

    def _not_this_block(self, own: dict[str, str], event: str) -> Reply:
        if "block" not in own:
            return ["CLEAR"]
        if own.get("nonce"):
            return ["OWNED", own["owner"]]
        if event and f'"event":"{event}"' not in own["block"]:
            return ["CHANGED", own["block"]]
        return None

    def event_skip(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        event, group, *fields = args
        own, stream = self.hash(keys[0]), self.stream(keys[1])
        if refusal := self._not_this_block(own, event or "-"):
            return refusal
        following = stream.after(parse(own["cursor"]), 1) if stream else []
        if not following or text_of(following[0]) != event:
            return ["GONE"]
        if isinstance(self.data.get(keys[2]), str):
            raise Refused(f"WRONGTYPE {keys[2]} is not a stream")
        self.data.setdefault(keys[2], Stream()).add(tuple(fields), self.now_ms())
        count = int(own["count"]) + 1
        self._hset(keys[0], cursor=event, count=str(count), **_CLEAN)
        for name in ("block", "edit", "edit_id"):
            own.pop(name, None)
        self._set_group(keys[1], group, event, count)
        return ["OK"]

    def cursor_seek(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        cursor, count, group, added, gone = args
        own, stream = self.hash(keys[0]), self.stream(keys[1])
        if (stream.added if stream else 0) < int(added) or (stream.gone if stream else 0) != int(gone):
            return ["CHANGED"]
        before, block = dict(own), ""
        own = self._hset(
            keys[0], epoch=self._fresh_epoch(own), cursor=cursor, count=count, seq="0", alone="0", **_CLEAN
        )
        own.pop("from", None)
        if "block" in own:
            failed = re.search(r'"event":"(\d+-\d+)"', own["block"])
            block = "KEPT"
            if failed and parse(cursor) >= parse(failed[1]):
                del own["block"]
                block = "LIFTED"
        self._set_group(keys[1], group, cursor, int(count))
        return ["OK", before.get("cursor", ""), before.get("count", ""), block]

    # --- members ----------------------------------------------------------------------------------------------

    def member_beat(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        member, entry, report, joins = args[:4]
        now, status = str(self.now_ms()), "EXPELLED"
        in_time = len(args) < 5 or self._in_time(int(args[4]))
        if (joins == "1" and in_time) or self._may_beat(member, self.hash(keys[0])):
            self._hset(keys[0], **{member: f"{now}|{entry}"})
            self._hset(keys[1], **{member: report})
            status = "OK"
        reply = [status, now]
        for pair in self.hash(keys[0]).items():
            reply += pair
        return reply

    def _in_time(self, limit_ms: int) -> bool:
        return self.now_ms() <= limit_ms

    def _may_beat(self, member: str, members: dict[str, str]) -> bool:
        return member in members

    def member_expel(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        member, seen = args
        members = self.hash(keys[0])
        if member not in members or self._has_beaten(members[member], seen):
            return 0
        del members[member]
        self.hash(keys[1]).pop(member, None)
        self.data.setdefault(keys[2], Stream()).add(("what", "left", "member", member), self.now_ms())
        return 1

    def _has_beaten(self, entry: str, seen: str) -> bool:
        return bool(seen) and entry != seen

    def halt_set(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        if args[0] in self.hash(keys[0]):
            return 0
        self._hset(keys[0], **{args[0]: args[1]})
        return 1

    # --- senders ----------------------------------------------------------------------------------------------

    def produce(self, keys: Sequence[str], args: Sequence[str]) -> Reply:
        first, capacity, entries = int(args[0]), int(args[1]), _entries(args)
        there = self.data.get(keys[0])
        if there is not None and not isinstance(there, Stream):
            return ["WRONGTYPE", "hash" if isinstance(there, dict) else "string"]
        skip, known = 0, ""
        last = self._remembered(keys[1])
        if last is not None:
            start, end, start_id = last.split()
            if first > int(end) + 1:
                return ["GAP", end]
            if first <= int(end):
                if first < int(start):
                    return ["STALE", end]
                ms, seq = parse(start_id)
                skip, known = min(len(entries), int(end) - first + 1), text_of((ms, seq + first - int(start)))
        fresh = entries[skip:]
        if not fresh:
            return ["OK", known, skip, "", 0]
        stream = there or Stream()
        if stream.length + len(fresh) > capacity:
            waiting = min(stream.length, stream.added - min((read for _, read in stream.groups.values()), default=0))
            if not stream.groups:
                waiting = stream.length
            if waiting + len(fresh) > capacity:
                return ["CAPACITY", str(waiting)]
        try:
            head = stream.add(fresh[0], self.now_ms())
        except Exhausted:
            return ["POISONED", text_of((2**64 - 1, 2**64 - 1))]
        if head[1] >= 10**15:
            stream.delete(head)
            return ["POISONED", text_of(head)]
        for fields in fresh[1:]:
            stream.append((head[0], stream.last[1] + 1), fields)
        self.data[keys[0]] = stream
        self.data[keys[1]] = f"{first + skip} {first + len(entries) - 1} {text_of(head)}"
        return ["OK", known, skip, text_of(head), len(fresh)]

    def _remembered(self, producer: str) -> str | None:
        return self.data.get(producer)


def _holes(own: dict[str, str], stream: Stream) -> bool:
    """Whether something unread may have been deleted from between others since that was last counted."""
    return stream.deleted > parse(own["cursor"]) and _mark(stream) != own.get("deleted")


def _mark(stream: Stream) -> str:
    """What is gone until now: the highest that was deleted, and how many of all."""
    return f"{text_of(stream.deleted)} {stream.gone}"


def _entries(args: Sequence[str]) -> list[tuple[str, ...]]:
    """The fields of each entry of a chunk."""
    entries, at = [], 4
    for _ in range(int(args[3])):
        data, key, words = args[at], args[at + 1], int(args[at + 2])
        named = ("key", key) if key else ()
        entries.append(("data", data, *named, *args[at + 3 : at + 3 + words]))
        at += 3 + words
    return entries


def _effects(keys: Sequence[str], words: Sequence[str]) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Each effect: what, on which key, its limit or value, and an entry's fields."""
    effects: list[tuple[str, str, str, tuple[str, ...]]] = []
    at = 0
    while at < len(words):
        op, name = words[at], keys[int(words[at + 1]) - 1]
        if op in ("X", "L"):
            fields = int(words[at + 3])
            effects.append((op, name, words[at + 2], tuple(words[at + 4 : at + 4 + fields])))
            at += 4 + fields
        elif op == "E":
            end = at + 4 + 2 * int(words[at + 3])
            for data, key in zip(words[at + 4 : end : 2], words[at + 5 : end : 2], strict=True):
                effects.append(("X", name, words[at + 2], ("data", data, "key", key)))
            at = end
        elif op in ("S", "D"):
            effects.append((op, name, words[at + 2] if op == "S" else "", ()))
            at += 3 if op == "S" else 2
        else:
            raise Refused(f"commit: unknown effect {op}")
    return effects
