"""NATS JetStream, a durable pull consumer on a file-backed stream, each message acked after its handler (the server's
word that it has the ack is not awaited): at least once. One stream, no partitions."""

import sys

import msgspec
import nats
import uvloop
from nats.errors import TimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, StorageType

from benchmarks.peers.tally import URL, WAY, backlog, handled

AT_ONCE = 500


async def run() -> None:
    client = await nats.connect(URL)
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=4 * AT_ONCE)
    events = await client.jetstream().pull_subscribe("events", durable="bench", config=config)
    decode = msgspec.json.decode
    while True:
        try:
            messages = await events.fetch(AT_ONCE if WAY == "batch" else 1, timeout=1)
        except TimeoutError:
            continue
        for message in messages:
            decode(message.data)
            handled()
            await message.ack()


async def send() -> None:
    client = await nats.connect(URL)
    stream = client.jetstream()
    await stream.add_stream(name="events", subjects=["events"], storage=StorageType.FILE)
    for records in backlog(1000):
        for record in records:
            await stream.publish_async("events", msgspec.json.encode(record))
        await stream.publish_async_completed()
    await client.close()


if __name__ == "__main__":
    uvloop.run(send() if len(sys.argv) > 1 else run())
