"""An app written for Runnel, where Runnel is not installed: its topology is written, its handlers run unmodified."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process import ups

pytestmark = pytest.mark.process

APP = """
from runnel import App, ExceptionPolicy, Gzip, JSONSerializer, Middleware, Record
from runnel.middleware import DeadLetterMiddleware

app = App(name="moved", redis_url="127.0.0.1:6379", log_level="INFO")

class Item(Record):
    id: int

class Order(Record):
    order_id: int
    items: list[Item] = []

class Flat(Record, primitive=True):
    order_id: int
    complete: bool

orders = app.stream("orders", record=Order, partition_by="order_id")
packed = app.stream("packed", Order, "order_id", JSONSerializer(compressor=Gzip()), partition_count=3)
flats = app.stream("flats", record=Flat, partition_by=lambda flat: flat.order_id, partition_size=10)
dead_letter = DeadLetterMiddleware(source=orders)

class Printer(Middleware):
    async def handler(self, parent, **kwargs):
        async for each in parent:
            print("passing", each)
            yield each

@app.processor(orders, exception_policy=ExceptionPolicy.IGNORE, middleware=[dead_letter, Printer()], lock_expiry=20)
async def printer(events):
    async for order in events.records():
        print("order", order.order_id)

@app.processor(dead_letter.sink, name="bury", prefetch_count=100)
async def dead(events):
    async for event in events:
        pass

@app.task
async def hello():
    print("hello")

@app.timer(interval=0.5, on_leader=True)
async def tick():
    print("tick")

@app.crontab("45 17 * * *")
async def report():
    print("report")
"""

TOPOLOGY = """\
# Made from the Runnel app example:app by `runnelctl init --from-runnel`. The handlers run as they are.
name: moved
redis: ${REDIS_URL:-redis://127.0.0.1:6379}
pythonpath: [.]

streams:
  orders:
    partitions: 16
    key: order_id
    record: example:Order
    retention: {events: 50000}  # but no event that a processor has not passed
  packed:
    partitions: 3
    key: order_id
    record: example:Order
    compression: gzip
    retention: {events: 50000}  # but no event that a processor has not passed
  flats:
    partitions: 16
    # key: the field that holds what partition_by computed
    record: example:Flat
    codec: fields
    retention: {events: 10}  # but no event that a processor has not passed
  dead.orders:
    partitions: 1
    validate: never

processors:
  printer:
    stream: orders
    handler: example:printer
    policy: IGNORE
    retry: {attempts: 1}
    dead_letter: dead.orders
    middleware: [example:printer.middleware_0]
  bury:
    stream: dead.orders
    handler: example:dead
    policy: HALT
    retry: {attempts: 1}

tasks:
  hello: {run: example:hello, on: start}
  tick: {run: example:tick, every: 500ms, leader: true}
  report: {run: example:report, cron: "45 17 * * *"}

lease: {ttl: 20s}  # lock_expiry; 6s is usual here, as a busy handler never costs a lease
log: {level: info}
"""


def test_the_topology_of_an_app(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(APP)
    ended = ups.command(tmp_path, "init", "--from-runnel", "example:app")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "topology.yaml").read_text() == TOPOLOGY
    assert "stream flats: partition_by is <lambda>(), and a file can only name a field" in ended.stderr
    assert "processor bury: prefetch_count is not needed" in ended.stderr
    again = ups.command(tmp_path, "init", "--from-runnel", "example:app")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("example:orders", 2, "example:orders is Stream, not a Runnel App"),
        ("gone:app", 3, "no module named gone"),
        ("example:ap", 3, "did you mean 'app'"),
        ("broken:app", 3, "cannot import name 'Nothing' from 'runnel'"),
    ],
)
def test_what_is_no_app(source: str, code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(APP)
    (tmp_path / "broken.py").write_text("from runnel import Nothing\n")
    ended = ups.command(tmp_path, "init", "--from-runnel", source)
    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "topology.yaml").exists()
