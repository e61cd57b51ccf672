"""taskiq with its Redis stream broker: a task per event, acked one by one when it is done: at least once, no order."""

import asyncio

from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisStreamBroker

from benchmarks.peers.tally import URL, backlog, handled

broker = RedisStreamBroker(URL, consumer_id="0", xread_count=500).with_serializer(ORJSONSerializer())


@broker.task(task_name="noop")
async def noop(record: dict) -> None:
    handled()


async def send() -> None:
    await broker.startup()
    for records in backlog(50):
        await asyncio.gather(*(noop.kiq(record) for record in records))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(send())
