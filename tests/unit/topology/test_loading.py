"""What a file becomes: defaults, types, variables, overrides, includes, warnings."""

# ruff: noqa: E501 - a snippet of YAML stays as a user would write it

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runnelctl import errors, topology
from runnelctl.core import model
from runnelctl.topology.reading import _LOADER

Load = Callable[..., model.Topology]
Write = Callable[..., str]

SMALL = "name: shop\nstreams: {orders: {partitions: 4}}\nprocessors: {billing: {stream: orders, handler: 'a:b'}}\n"


def test_a_small_file_gets_every_default(load: Load, tmp_path: Path) -> None:
    shop = load(SMALL)
    assert shop == model.Topology(
        name="shop",
        file=str(tmp_path / "topology.yaml"),
        redis="embedded",
        streams={"orders": model.Stream(name="orders", partitions=4)},
        processors={
            "billing": model.Processor(
                name="billing", stream="orders", handler="a:b", processes=min(4, os.cpu_count() or 1)
            )
        },
    )


def test_every_key_is_read(load: Load, write: Write, tmp_path: Path) -> None:
    write('{"type": "object"}', "schemas/order.json")
    shop = load(
        """\
        name: shop
        redis: redis://user:secret@db:6380/2
        pythonpath: [., src]
        streams:
          orders: {partitions: 8, key: user.id, schema: schemas/order.json, codec: json, compression: none,
                   partitioner: murmur2, capacity: 5_000, validate: both}
        processors:
          billing: {stream: orders, handler: "a.b:C.d", processes: 2, policy: IGNORE, scope: partition, order: key,
                    concurrency: 16, retry: {attempts: 5, backoff: 1s, max_backoff: 1m}, timeout: 1.5s,
                    batch: {size: 7, within: 20ms}, commit: {every: 0ms, events: 9}, dead_letter: true, start: latest,
                    max_memory: 512MiB, max_events: 10, middleware: [a:b, c.d:e]}
        lease: {ttl: 3s}
        drain: 0s
        """
    )
    assert shop.redis == "redis://user:secret@db:6380/2"
    assert shop.pythonpath == (str(tmp_path), str(tmp_path / "src"))
    assert shop.streams == {
        "orders": model.Stream(
            name="orders", partitions=8, key="user.id", schema={"type": "object"},
            schema_source=str(tmp_path / "schemas/order.json"), partitioner=model.Partitioner.MURMUR2, capacity=5_000,
            validate=model.Validate.BOTH,
        ),
        "orders.dead": model.Stream(name="orders.dead", partitions=8, validate=model.Validate.NEVER),
    }  # fmt: skip
    assert shop.processors["billing"] == model.Processor(
        name="billing", stream="orders", handler="a.b:C.d", processes=2, policy=model.Policy.IGNORE,
        order=model.Order.KEY, concurrency=16, retry=model.Retry(attempts=5, backoff_ms=1_000, max_backoff_ms=60_000), timeout_ms=1_500,
        batch=model.Batch(size=7, within_ms=20), commit=model.CommitBounds(every_ms=0, events=9),
        dead_letter="orders.dead", start=model.Start.LATEST, max_memory_bytes=512 << 20, max_events=10,
        middleware=("a:b", "c.d:e"),
    )  # fmt: skip
    assert (shop.lease_ttl_ms, shop.drain_ms) == (3_000, 0)


def test_defaults_fill_in_and_go_below_the_first_level(load: Load) -> None:
    shop = load(
        """\
        name: shop
        streams: {orders: {partitions: 2}}
        defaults: {policy: QUARANTINE, retry: {attempts: 5, backoff: 20s}, processes: 9}
        processors:
          a: {stream: orders, handler: "m:f"}
          b: {stream: orders, handler: "m:f", policy: HALT, retry: {backoff: 1s}}
        """
    )
    a, b = shop.processors["a"], shop.processors["b"]
    assert (a.policy, a.retry) == (
        model.Policy.QUARANTINE,
        model.Retry(attempts=5, backoff_ms=20_000, max_backoff_ms=20_000),
    )
    assert (b.policy, b.retry) == (model.Policy.HALT, model.Retry(attempts=5, backoff_ms=1_000))
    assert a.processes == 2


def test_variables_keep_the_type_that_their_text_has(load: Load) -> None:
    text = """\
        name: "${NAME}"
        redis: ${REDIS_URL:-embedded}
        streams:
          orders: {partitions: "${N}", key: "$${not}"}
          ${N}: {partitions: 1, schema: {const: "${N}"}}
        processors:
          p: {stream: orders, handler: "m:f", retry: {attempts: "${A:-${B:-4}}"}, dead_letter: "${D}"}
        """
    with pytest.raises(errors.TopologyError, match=r"5:3: '\$\{N\}' must be a name"):
        load(text, environ={"NAME": "1", "N": "3", "D": "true"})
    shop = load(text.replace("${N}: {", "n: {"), environ={"NAME": "1", "N": "3", "D": "true"})
    assert (shop.name, shop.redis) == ("1", "embedded")
    assert (shop.streams["orders"].partitions, shop.streams["orders"].key) == (3, "${not}")
    assert shop.streams["n"].schema == {"const": "${N}"}
    assert shop.processors["p"].retry.attempts == 4
    assert shop.processors["p"].dead_letter == "orders.dead"


def test_what_a_variable_holds_is_not_expanded_again(load: Load) -> None:
    assert load(SMALL + "redis: ${U}", environ={"U": "redis://:p$X${Y}@h", "Y": "no"}).redis == "redis://:p$X${Y}@h"


def test_flag_beats_environment_beats_file(load: Load) -> None:
    text = SMALL + "redis: ${GONE:?}\ndrain: 1s\nlease: {ttl: 2s}\n"
    environ = {
        "RUNNELCTL_REDIS": "redis://env",
        "RUNNELCTL_DRAIN": "2s",
        "RUNNELCTL_LEASE_TTL": "",
        "RUNNELCTL_NAME": "7",
    }
    shop = load(text, environ=environ, overrides={"drain": "3s", "redis": None})
    assert (shop.redis, shop.drain_ms, shop.lease_ttl_ms, shop.name) == ("redis://env", 3_000, 2_000, "7")
    assert load(SMALL, overrides={"lease.ttl": "4s"}).lease_ttl_ms == 4_000


def test_a_wrong_override_says_where_it_came_from(mistakes: Callable[..., list[str]]) -> None:
    found = mistakes(SMALL, environ={"RUNNELCTL_DRAIN": "5"}, overrides={"lease.ttl": "x"})
    assert found == [
        "topology.yaml:1:1: --lease-ttl: ttl must be a duration over zero such as 100ms, 10s, 5m or 7d, not 'x'",
        "topology.yaml:1:1: RUNNELCTL_DRAIN: drain must be a duration such as 100ms, 10s, 5m or 7d, not '5'",
    ]
    with pytest.raises(ValueError, match="partitions"):
        topology.load("topology.yaml", overrides={"partitions": 3})


def test_a_dead_letter_of_a_dead_letter(load: Load) -> None:
    shop = load(SMALL + "  \n".join(["defaults: {dead_letter: true}"])).streams
    assert list(shop) == ["orders", "orders.dead"]
    chain = load(
        "name: s\nstreams: {o: {partitions: 3}}\nprocessors:\n"
        "  b: {stream: o.dead, handler: 'm:f', dead_letter: true}\n  a: {stream: o, handler: 'm:f', dead_letter: true}\n"
    )
    assert {name: stream.partitions for name, stream in chain.streams.items()} == {
        "o": 3,
        "o.dead": 3,
        "o.dead.dead": 3,
    }


def test_a_declared_dead_letter_keeps_its_declaration(load: Load) -> None:
    shop = load(
        "name: s\nstreams: {o: {partitions: 3}, o.dead: {partitions: 1, key: k}}\n"
        "processors: {a: {stream: o, handler: 'm:f', dead_letter: true}, b: {stream: o, handler: 'm:f', dead_letter: false}}\n"
    )
    assert shop.streams["o.dead"] == model.Stream(name="o.dead", partitions=1, key="k")
    assert [each.dead_letter for each in shop.processors.values()] == ["o.dead", None]


def test_includes_add_streams_and_processors(load: Load, write: Write, tmp_path: Path) -> None:
    write('{"type": "object"}', "teams/pay.json")
    write(
        "streams: {pay: {partitions: 2, schema: pay.json}}\nprocessors: {p: {stream: orders, handler: 'm:f'}}",
        "teams/a.yaml",
    )
    write("streams: {ship: {partitions: '${N}'}}", "teams/b.yaml")
    shop = load(SMALL + "include: ['teams/*.yaml', teams/a.yaml, '*.yaml', 'none/*']", environ={"N": "5"})
    assert list(shop.streams) == ["orders", "pay", "ship"]
    assert shop.streams["pay"].schema_source == str(tmp_path / "teams/pay.json")
    assert shop.streams["ship"].partitions == 5
    assert list(shop.processors) == ["billing", "p"]
    only = load("name: shop\ninclude: [teams/b.yaml]", environ={"N": "1"})
    assert list(only.streams) == ["ship"]


def test_mistakes_in_includes_name_the_included_file(mistakes: Callable[..., list[str]], write: Write) -> None:
    write(
        "name: other\nstreams:\n  orders: {partitions: 2}\nprocessors: {billing: {}}\ntasks: {a: 1}\nzzz: 1",
        "teams/a.yaml",
    )
    write("*", "teams/b.yaml")
    assert mistakes(SMALL + "include: ['teams/*.yaml']") == [
        "teams/a.yaml:1:1: name belongs in the file that includes this one",
        "teams/a.yaml:3:3: stream 'orders' is declared twice: here and at topology.yaml:2:11",
        "teams/a.yaml:4:14: handler is missing: it must be module:attribute, such as shop.handlers:charge",
        "teams/a.yaml:4:14: processor 'billing' is declared twice: here and at topology.yaml:3:14",
        "teams/a.yaml:4:14: stream is missing: it must be a name of up to 64 letters, digits, dots, dashes and underscores"
        " that begins with a letter or digit",
        "teams/a.yaml:5:12: this must be a mapping such as {run: shop.tasks:report, every: 10s}, not 1",
        "teams/a.yaml:6:1: unknown key 'zzz' (known here: streams, processors, tasks)",
        "teams/b.yaml:1:2: not YAML: did not find expected alphabetic or numeric character",
    ]


def test_what_is_odd_is_a_warning(write: Write) -> None:
    file = write(
        "name: s\npythonpath: [gone]\nstreams: {o: {partitions: 2, validate: read}}\nlease: {ttl: 500ms}\n"
        "processors: {p: {stream: o, handler: 'm:f', processes: 3}}\ninclude: ['none/*']\n"
    )
    Path(file).chmod(0o666)
    shop, warnings = topology.load_with_warnings(file, environ={})
    assert shop.processors["p"].processes == 2
    assert [str(each).split(" (")[0].split(" /")[0] for each in warnings] == [
        "topology.yaml:1:1: can be written by anybody",
        "topology.yaml:2:14: pythonpath: there is no",
        "topology.yaml:3:40: validate: read has nothing to check: stream 'o' has no schema",
        "topology.yaml:4:14: a ttl of 500ms takes partitions from hosts that are only busy; 6s is usual",
        "topology.yaml:5:56: 3 processes, but 'o' has 2 partition(s): no more are started",
        "topology.yaml:6:11: include: none/* matches no file",
    ]


def test_no_file(tmp_path: Path) -> None:
    for file, sentence in (
        (str(tmp_path / "gone.yaml"), "no such file"),
        (str(tmp_path), "is a directory, not a topology file"),
        ("a\0b", "cannot be read: embedded null byte"),
    ):
        with pytest.raises(errors.TopologyError) as caught:
            topology.load(file)
        assert str(caught.value) == f"{file}:1:1: {sentence}"


def test_a_byte_order_mark_is_no_mistake(load: Load) -> None:
    assert load("\ufeff" + SMALL).name == "shop"


def test_importing_the_package_is_cheap() -> None:
    heavy = ("jsonschema", "jsonschema_rs", "redis", "rich", "click", "asyncio", "difflib")
    code = f"import sys, runnelctl.topology; print([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Text made of what topologies are made of reaches further in than random text does.
_PIECES = st.sampled_from(
    ["name: shop", "streams:", "processors:", "orders:", "partitions: 8", "schema:", "{type: object}", "\n", "\n  ", "\n    ",
     "include: [a]", "include: ['*']", "${X}", "$", "${", "}", "*a", "&a ", "!!str ", "- ", "? ", ": ", "[", "]", "{", "'", '"',
     "null", "retry: {attempts: 3}", "handler: a:b", "stream: orders", "dead_letter: true", "---", "%", "\t", "1e400", "0x1f",
     "\ud7ff", "\x85", "\u2028", "<<: *a", "redis: redis://[", "lease:", "defaults:", "$ref: 5", "'$schema': x", "9" * 50]
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(), st.lists(_PIECES, max_size=40).map("".join), st.lists(_PIECES).map(" ".join), st.binary()))
def test_no_text_raises_anything_but_topology_errors(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "fuzz.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    try:
        topology.load(file, environ={"X": "x: y"})
    except errors.TopologyError as error:
        assert error.problems


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(
            ["type", "properties", "$ref", "$id", "$schema", "pattern", "enum", "items", "minimum", "$defs", "allOf"]
        ),
        st.recursive(
            st.one_of(
                st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["#", "#/a", "string"])
            ),
            lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
        ),
    )
)
def test_no_schema_raises_anything_but_topology_errors(tmp_path: Path, schema: object) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    (tmp_path / "fuzz.yaml").write_text("name: s\nstreams: {o: {partitions: 1, schema: schema.json}}")
    try:
        topology.load(tmp_path / "fuzz.yaml", environ={})
    except errors.TopologyError as error:
        assert all(problem.line == 2 and problem.column == 38 for problem in error.problems)


def test_the_c_parser_is_in_use() -> None:
    assert _LOADER.__name__ == "CSafeLoader"
