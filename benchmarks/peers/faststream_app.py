"""FastStream on Redis streams, in a consumer group: what fails stays pending, at least once. One stream."""

import sys

import uvloop
from faststream import AckPolicy, FastStream
from faststream.redis import BinaryMessageFormatV1, RedisBroker, StreamSub
from redis.asyncio import Redis

from benchmarks.peers.tally import URL, WAY, backlog, handled

broker = RedisBroker(URL, logger=None)
app = FastStream(broker, logger=None)
BATCH = WAY == "batch"
stream = StreamSub("events", group="bench", consumer="one", batch=BATCH, max_records=500, last_id="0")


async def noop(record: dict) -> None:
    handled()


async def noop_batch(records: list[dict]) -> None:
    for _ in records:
        handled()


broker.subscriber(stream=stream, ack_policy=AckPolicy.NACK_ON_ERROR)(noop_batch if BATCH else noop)


async def send() -> None:
    """Its own format, pipelined: it has no bulk send for streams."""
    async with Redis.from_url(URL) as redis:
        for records in backlog(1000):
            pipe = redis.pipeline(transaction=False)
            for record in records:
                message = await BinaryMessageFormatV1.encode(
                    message=record, reply_to=None, headers=None, correlation_id=str(record["n"])
                )
                pipe.xadd("events", {"__data__": message})
            await pipe.execute()


if __name__ == "__main__":
    uvloop.run(send() if len(sys.argv) > 1 else app.run())
