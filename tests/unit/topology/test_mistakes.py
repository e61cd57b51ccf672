"""Every mistake that `check` knows: a snippet, where it is reported, and what the sentence says."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

from collections.abc import Callable

import pytest

HEAD = "name: shop\nstreams:\n  orders:\n    partitions: 8\n"  # 4 lines
BILLING = HEAD + "processors:\n  billing:\n    stream: orders\n    handler: shop.handlers:charge\n"  # 8 lines

STREAM = {
    "partitions: 0": (4, 17, "partitions must be a whole number from 1 to 4096, not 0"),
    "partitions: -1": (4, 17, "not -1"),
    "partitions: 4097": (4, 17, "not 4097"),
    "partitions: '8'": (4, 17, "not '8' (without the quotes)"),
    "partitions: true": (4, 17, "not true"),
    "partitions: 8.0": (4, 17, "not 8.0"),
    "partitions:": (4, 16, "not empty"),
    "partitions: [8]": (4, 17, "not a list"),
    "partitions: 010": (4, 17, "not '010' (without the leading zero)"),
    "partitions: 1:30": (4, 17, "not '1:30'"),
    "partitions: " + "9" * 5000: (4, 17, "partitions must be"),
    "partition: 8": (4, 5, "unknown key 'partition' (did you mean 'partitions'?)"),
    "key: 5": (3, 3, "partitions is missing: it must be a whole number from 1 to 4096"),
}


@pytest.mark.parametrize("line", STREAM)
def test_a_stream_s_partitions(line: str, mistakes: Callable[..., list[str]]) -> None:
    row, column, sentence = STREAM[line]
    found = mistakes(f"name: shop\nstreams:\n  orders:\n    {line}\n")
    assert any(each.startswith(f"topology.yaml:{row}:{column}: ") and sentence in each for each in found), found


MORE_STREAM = {
    "key: 5": "5:10: key must be a field of the record",
    "key: a..b": "5:10: key must be a field of the record, or a dotted path such as user.id, not 'a..b'",
    "schema: missing.json": "5:13: no such schema file: missing.json (looked for /",
    "schema: .": "5:13: schema . cannot be read: Is a directory",
    "schema: [a]": "5:13: schema must be the path of a JSON Schema, or a JSON Schema itself, not a list",
    "schema: true": "5:13: schema must be the path",
    "schema: {type: strin}": "5:20: not a JSON Schema: 'strin' is not valid",
    "schema: {required: a}": "5:24: not a JSON Schema: 'a' is not of type 'array'",
    "schema: {$ref: 'https://example.com/a.json'}": "5:20: $ref to 'https://example.com/a.json' is refused: only references",
    "schema: {$ref: 'other.json'}": "5:20: $ref to 'other.json' is refused",
    "schema: {$ref: '#/$defs/gone'}": "5:13: not a JSON Schema: Pointer '/$defs/gone' does not exist",
    "schema: {pattern: '['}": "not a JSON Schema",
    "schema: {$schema: 'https://json-schema.org/draft/2020-12/shema'}": "5:23: unknown $schema",
    "codec: jsn": "5:12: codec must be json, msgpack or fields, or module:attribute, not 'jsn' (did you mean 'json'?)",
    "codec: 5": "5:12: codec must be json, msgpack, fields, or one of your own (module:attribute), not 5",
    "codec: a:b:c": "5:12: codec must be json, msgpack, fields, or one of your own (module:attribute), not 'a:b:c'",
    "compression: zst": "5:18: compression must be none, zstd, lz4 or gzip, or module:attribute, not 'zst' (did you mean 'zstd'?)",
    "partitioner: crc16": "5:18: partitioner must be crc32, murmur2 or ring, or module:attribute, not 'crc16' (did you mean 'crc32'?)",
    "partitioner: {ring: {nodes: []}}": "5:33: a ring with no nodes: name one for each partition, or leave nodes out",
    "partitioner: {ring: {nodes: [a, b]}}": "5:33: the ring has 2 nodes and the stream 8 partition(s): one for each",
    "partitioner: {ring: {nodes: [a, b, a]}}": "5:33: node 'a' is on the ring twice",
    "partitioner: {ring: {nodes: [1]}}": "5:34: an item must be a name (quote a number), not 1",
    "partitioner: {ring: {vnodes: 0}}": "5:34: vnodes must be a whole number from 1 to 10000, not 0",
    "partitioner: {ring: {points: 1}}": "5:26: unknown key 'points'",
    "partitioner: {}": "5:18: partitioner is empty: write ring, or {ring: {vnodes: 160}}",
    "partitioner: {rung: {}}": "5:19: unknown key 'rung' (did you mean 'ring'?)",
    "codec: fields\n    compression: gzip": "6:18: compression: gzip has nothing to compress: codec fields stores plain fields",
    "codec: fields\n    key: user.id": "6:10: codec fields stores flat records, and user.id is inside of something",
    "codec: fields\n    schema: {properties: {a: {type: array}}}": "5:12: codec fields and the schema: a is array, and codec fields stores flat records",
    "codec: fields\n    schema: {properties: {a: {type: [string, integer]}}}": "5:12: codec fields and the schema: a may be integer or string, which codec fields cannot tell apart",
    "codec: fields\n    schema: {properties: {data: {type: string}}}": "5:12: codec fields and the schema: data is a name that codec fields needs itself",
    "record: Order": "5:13: record must be module:Class, such as shop.records:Order, not 'Order'",
    "capacity: 0": "5:15: capacity must be a whole number of events, at least 1, not 0",
    "validate: on": "5:15: on is a boolean to some YAML readers and text to others: write true or false, or quote it",
    "validate: sent": "5:15: validate must be send, read, both or never, not 'sent' (did you mean 'send'?)",
    "retention: {}": "5:16: retention keeps everything: it needs events, age or both",
    "retention: {events: 0}": "events must be a whole number of events, at least 1, not 0",
    "retention: {age: 7}": "age must be a duration over zero",
    "retention: {size: 1GiB}": "unknown key 'size'",
    "partitions: 8": "5:5: 'partitions' is here twice, first in line 4",
    "? [a]\n    : b": "5:7: a key must be text",
}


@pytest.mark.parametrize("line", MORE_STREAM)
def test_a_stream_s_other_keys(line: str, mistakes: Callable[..., list[str]]) -> None:
    found = mistakes(f"{HEAD}    {line}\n")
    assert len(found) == 1
    assert MORE_STREAM[line] in found[0]


PROCESSOR = {
    "timeout: 30": "9:14: timeout must be a duration over zero such as 100ms, 10s, 5m or 7d, not 30 (did you mean '30s'?)",
    "timeout: 0s": "9:14: timeout must be a duration over zero",
    "timeout: 0.1ms": "9:14: timeout is under a millisecond",
    "timeout: -1s": "not '-1s'",
    "timeout: 5 s": "not '5 s'",
    "timeout: 4000d": "9:14: timeout is longer than ten years",
    "policy: halt": "9:13: policy must be HALT, QUARANTINE or IGNORE, not 'halt' (did you mean 'HALT'?)",
    "policy: no": "9:13: no is a boolean to some YAML readers",
    "scope: event": "9:12: scope must be partition or key, not 'event'",
    "max_parked: {events: 0}": "9:26: events must be a whole number of events, at least 1, not 0",
    "max_parked: {size: many}": "9:24: size must be a size such as 512MiB, 64KiB or 10MB, not 'many'",
    "state: {ttl: 0s}": "9:18: ttl must be a duration over zero such as 100ms, 10s, 5m or 7d, not '0s'",
    "order: keys": "9:12: order must be partition or key, not 'keys' (did you mean 'key'?)",
    "order: key\n    scope: key": "9:12: order: key together with scope: key is not supported by this version yet",
    "concurrency: 4": "9:18: concurrency 4 needs order: key; with order: partition one event runs at a time",
    "concurrency: 0": "9:18: concurrency must be a whole number of handlers, 1 to 1024, not 0",
    "match: {}": "9:12: match is empty: name a field and its values, or leave match out",
    "match: A": "9:12: match must be a mapping such as {type: [OrderPaid, OrderRefunded]}, not 'A'",
    "match: {type: []}": "9:19: match: type has no value to match: no event would ever be handled",
    "match: {type: {a: b}}": "9:19: this must be a text, a number, true, false or null, or a list of them, not a mapping",
    "match: {type: [[a]]}": "9:20: an item must be a text, a number, true, false or null, not a list",
    "match: {a..b: c}": "9:13: 'a..b' must be a field of the record, a dotted path such as user.country, or h:<header>",
    "middleware: a:b": "9:17: middleware must be a list such as [shop.middleware:trace], not 'a:b'",
    "middleware: [a:b, c]": "9:23: an item must be module:attribute, such as shop.middleware:trace, not 'c'",
    "retry: 3": "9:12: retry must be a mapping such as {attempts: 3, backoff: 100ms, max_backoff: 10s}, not 3",
    "retry: {attempts: 0}": "9:23: attempts must be a whole number, at least 1, not 0",
    "retry: {attempt: 2}": "9:13: unknown key 'attempt' (did you mean 'attempts'?)",
    "retry: {backoff: 10s, max_backoff: 5s}": "9:40: max_backoff (5s) is shorter than backoff (10s)",
    "batch: {size: 0}": "9:19: size must be a whole number from 1 to 100000, not 0",
    "batch:": "9:11: batch must be a mapping such as {size: 100, within: 1s}, not empty",
    "commit: {every: fast}": "9:21: every must be a duration such as",
    "dead_letter: order.dead": "9:18: dead_letter stream 'order.dead' is not declared (did you mean 'orders'?)",
    "dead_letter: orders": "9:18: dead_letter is 'orders', the stream that it reads: its events would come round for ever",
    "dead_letter: 5": "9:18: dead_letter must be the name of a stream, or true for <stream>.dead, not 5",
    "dead_letter: yes": "9:18: yes is a boolean to some YAML readers",
    "start: first": "9:12: start must be earliest or latest, not 'first'",
    "start: latst": "9:12: start must be earliest or latest, not 'latst' (did you mean 'latest'?)",
    "max_memory: 512": "9:17: max_memory must be a size such as 512MiB, 64KiB or 10MB, not 512 (did you mean '512MiB'?)",
    "max_memory: 0MiB": "9:17: max_memory must be a size",
    "max_memory: 99999999TiB": "9:17: max_memory is not a size that a process can have",
    "max_events: 0": "9:17: max_events must be a whole number of events, at least 1, not 0",
    "processes: 0": "9:16: processes must be a whole number of processes, at least 1, not 0",
    "<<: {policy: HALT}": "9:5: merge keys (<<) are refused",
    "procesess: 2": "9:5: unknown key 'procesess' (did you mean 'processes'?)",
    "zzz: 1": "9:5: unknown key 'zzz' (known here: stream, handler, match, processes, ",
    "retry: &r {attempts: 2}": "9:12: anchors (&r) are refused",
    "batch: *r": "9:12: aliases (*r) are refused",
    "timeout: !!str 5s": "9:14: tags (!!str) are refused",
    "timeout: !!python/object/apply:os.system [ls]": "9:14: tags (!!python/object/apply:os.system) are refused",
    "timeout: ${T}": "9:14: variable T is not set (${T:-...} gives it a default)",
    "timeout: ${T:?say how long}": "9:14: variable T is not set: say how long",
    "timeout: ${T:-30}": "9:14: timeout must be a duration over zero such as 100ms, 10s, 5m or 7d, not 30 (did you mean '30s'?)",
    "timeout: $T": "9:14: write ${NAME} with braces for a variable, or $$ for a dollar",
    "timeout: ${T": "9:14: ${ is not closed",
    "timeout: ${T:+x}": "9:14: ${T...} can be followed by :-default or :?message only",
    "timeout: ${1}": "9:14: ${ must be followed by a variable's name",
}


@pytest.mark.parametrize("line", PROCESSOR)
def test_a_processor_s_keys(line: str, mistakes: Callable[..., list[str]]) -> None:
    found = mistakes(f"{BILLING}    {line}\n")
    assert len(found) == 1
    assert PROCESSOR[line] in found[0]


NEEDED = {
    "stream: order\n    handler: a:b": "7:13: stream 'order' is not declared (did you mean 'orders'?)",
    "stream: payments\n    handler: a:b": "7:13: stream 'payments' is not declared (declared: orders)",
    "handler: a:b": "6:3: stream is missing: it must be a name",
    "stream: orders": "6:3: handler is missing: it must be module:attribute, such as shop.handlers:charge",
    "stream: orders\n    handler: shop.handlers.charge": "8:14: handler must be module:attribute, such as shop.handlers:charge, not",
    "stream: orders\n    handler: a:b c": "8:14: handler must be module:attribute",
    "stream: orders\n    handler: 'a:b\n\n      '": "8:14: handler must be module:attribute",
}


@pytest.mark.parametrize("lines", NEEDED)
def test_what_a_processor_needs(lines: str, mistakes: Callable[..., list[str]]) -> None:
    found = mistakes(f"{HEAD}processors:\n  billing:\n    {lines}\n")
    assert len(found) == 1
    assert NEEDED[lines] in found[0]


TOP = {
    "tasks: []": "5:8: tasks must be a mapping of task names to tasks, not a list",
    "tasks: {a: {run: m:f}}": "5:12: task 'a' needs exactly one of on, every and cron; it has none",
    "tasks: {a: {run: m:f, every: 1s, cron: '* * * * *'}}": (
        "5:12: task 'a' needs exactly one of on, every and cron; it has every and cron"
    ),
    "tasks: {a: {every: 1s}}": ("5:9: run is missing: it must be module:attribute, such as shop.tasks:report"),
    "tasks: {a: {run: m:f, on: end}}": "5:27: on must be start, not 'end'",
    "tasks: {a: {run: m:f, every: 0s}}": "5:30: every must be a duration over zero such as 100ms, 10s, 5m or 7d, not '0s'",
    "tasks: {a: {run: m:f, cron: '0 0 30 2 *'}}": (
        "5:29: cron '0 0 30 2 *' never fires: none of its months has such a day"
    ),
    "tasks: {a: {run: m:f, cron: '61 * * * *'}}": (
        "5:29: cron '61 * * * *': bad minute; it takes minute, hour, day of month, month and day of week, "
        'such as "45 17 * * *"'
    ),
    "tasks: {a: {run: m:f, cron: hourly}}": (
        "5:29: cron 'hourly': wrong number of fields; it takes minute, hour, day of month, month and day of week, "
        'such as "45 17 * * *"'
    ),
    "tasks: {a: {run: m:f, cron: '* * * * *', timezone: Europe/Berln}}": (
        "5:52: there is no time zone 'Europe/Berln' (did you mean 'Europe/Berlin'?)"
    ),
    "tasks: {a: {run: m:f, every: 1s, leader: maybe}}": "5:42: leader must be true or false, not 'maybe'",
    "tasks: {a: {run: m:f, every: 1s, overlap: wait}}": "5:43: overlap must be skip or queue, not 'wait'",
    "tasks: {'a b': {run: m:f, every: 1s}}": (
        "5:9: 'a b' must be a name of up to 64 letters, digits, dots, dashes and underscores that begins with a letter "
        "or digit"
    ),
    "start: thread": "5:8: start must be fork or spawn, not 'thread'",
    "stream: {}": "5:1: unknown key 'stream' (did you mean 'streams'?)",
    "redis: 5": "5:8: redis must be embedded, or a URL that begins with redis://, rediss://, unix:// or redis+sentinel://, not 5",
    "redis: embeded": "5:8: redis must be embedded, or a URL that begins with redis://, rediss://, unix:// or redis+sentinel:// (did you mean 'embedded'?)",
    "redis: redis+cluster://a": "5:8: redis+cluster:// is not supported by this version yet",
    "redis: http://a": "5:8: unknown kind of Redis URL",
    "redis: redis://h:99999/0": "5:8: the Redis URL's host and port can't be read",
    "redis: redis://h/x": "5:8: the Redis URL's database must be a number",
    "redis: unix://sock": "5:8: the Redis URL needs the absolute path of a socket",
    "pythonpath: .": "5:13: pythonpath must be a list of directories, not '.'",
    "pythonpath: [5]": "5:14: an item must be a directory, not 5",
    "lease: 6s": "5:8: lease must be a mapping such as {ttl: 6s}, not '6s'",
    "lease: {ttl: 0s}": "5:14: ttl must be a duration over zero",
    "drain: 1w": "5:8: drain must be a duration such as 100ms, 10s, 5m or 7d, not '1w'",
    "defaults: {stream: orders}": "5:12: unknown key 'stream'",
    "log: {level: loud}": "5:14: level must be debug, info, warning or error, not 'loud'",
    "log: {format: yaml}": "5:15: format must be text or json, not 'yaml'",
    "log: {lvel: info}": "5:7: unknown key 'lvel' (did you mean 'level'?)",
    "discover: ['no/such/*.py']": "5:12: discover: no/such/*.py matches no Python file",
    "discover: shop": "5:11: discover must be a list of files",
    "processors: []": "5:13: processors must be a mapping of processor names to processors, not a list",
    "processors: {billing: }": "5:23: this must be a mapping such as {stream: orders, handler: shop.handlers:charge}, not empty",
    "processors: {a b: {stream: orders, handler: a:b}}": "5:14: 'a b' must be a name of up to 64 letters",
    "include: [gone.yaml]": "5:11: include: no such file: gone.yaml",
    "include: teams": "5:10: include must be a list of files",
}


@pytest.mark.parametrize("line", TOP)
def test_the_top_of_the_file(line: str, mistakes: Callable[..., list[str]]) -> None:
    found = mistakes(f"{HEAD}{line}\n")
    assert len(found) == 1
    assert TOP[line] in found[0]


WHOLE = {
    "": "1:1: the file is empty",
    "# nothing\n": "1:1: the file is empty",
    "---\n": "1:1: the file is empty",
    "[]": "1:1: a topology is a mapping",
    "shop": "1:1: a topology is a mapping",
    "name: shop\n": "1:1: no stream is declared: streams is missing",
    "streams: {orders: {partitions: 1}}": "1:1: name is missing: it must be a name",
    "name: a/b\nstreams: {orders: {partitions: 1}}": "1:7: name must be a name of up to 64 letters, digits",
    f"name: {'a' * 65}\nstreams: {{orders: {{partitions: 1}}}}": "1:7: name must be a name",
    "name: 5\nstreams: {orders: {partitions: 1}}": "1:7: name must be a name",
    f"{HEAD}---\n{HEAD}": "5:1: a second document (---)",
    "name: a: b": "1:8: not YAML: mapping values are not allowed in this context (quote text",
    "name: shop\n\tredis: x": "2:1: not YAML: found a tab character that violates indentation (indent with spaces, not tabs)",
    "name: 'shop": "not YAML: found unexpected end of stream",
    "{name: ${X}}": "not YAML: did not find expected ',' or '}' (inside braces, quote text that holds braces, as in \"${VAR}\")",
    "[" * 100_000: ": nested more than 32 deep",
    "[" * 33: "1:33: nested more than 32 deep",
    "a: " * 1: "1:1: unknown key 'a'",
    "name: \x00": "not YAML",
}


@pytest.mark.parametrize("text", WHOLE, ids=lambda text: repr(text[:20]))
def test_the_whole_file(text: str, mistakes: Callable[..., list[str]]) -> None:
    assert any(WHOLE[text] in each for each in mistakes(text))


def test_not_utf_8_names_the_byte(mistakes: Callable[..., list[str]]) -> None:
    assert mistakes(b"name: shop\nredis: caf\xe9\n") == ["topology.yaml:2:11: not UTF-8: byte 0xe9"]


def test_over_one_mebibyte(mistakes: Callable[..., list[str]]) -> None:
    assert mistakes(HEAD + "#" * (1 << 21)) == ["topology.yaml:1:1: is over 1 MiB; split it with include:"]


def test_an_alias_bomb_is_refused_without_being_unfolded(mistakes: Callable[..., list[str]]) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    found = mistakes(bomb)
    assert any("anchors (&a) are refused" in each for each in found)
    assert any("aliases (*a) are refused" in each for each in found)


def test_a_hundred_thousand_mistakes_end_at_a_hundred(mistakes: Callable[..., list[str]]) -> None:
    found = mistakes("name: shop\nstreams: {" + "a: {b: 1}, " * 50_000 + "}")
    assert len(found) == 101
    assert any("so many mistakes that the rest are not listed" in each for each in found)


def test_all_mistakes_come_at_once_in_the_file_s_order(mistakes: Callable[..., list[str]]) -> None:
    found = mistakes(
        """\
        name: shop
        redis: http://x
        streams:
          orders: {partitions: 0}
          payments: {partitions: 4, schema: gone.json}
        processors:
          billing:
            stream: order
            handler: charge
            retry: {attempts: 0}
        """
    )
    assert [each.split(": ")[0].removeprefix("topology.yaml:") for each in found] == [
        "2:8", "4:24", "5:37", "8:13", "9:14", "10:23",
    ]  # fmt: skip


def test_a_wrong_stream_is_still_declared(mistakes: Callable[..., list[str]]) -> None:
    found = mistakes("name: s\nstreams: {a: {partitions: x}}\nprocessors: {p: {stream: a, handler: m:f, processes: 9}}")
    assert len(found) == 1


def test_a_password_is_in_no_message(mistakes: Callable[..., list[str]]) -> None:
    for url in (
        "redis://:hunter2@h:x",
        "redis://u:hunter2/@h",
        "redis://u:hunter2#@h",
        "redis://h?pasword=hunter2",
        "x://hunter2@h",
    ):
        assert "hunter2" not in "".join(mistakes(f"{HEAD}redis: {url}\n"))
        assert "hunter2" not in "".join(mistakes(HEAD, environ={"RUNNELCTL_REDIS": url}))
