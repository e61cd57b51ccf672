"""dramatiq with its Redis broker: a message per event, acked one by one after the actor: at least once, no order."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.tally import URL, backlog, handled

dramatiq.set_broker(RedisBroker(url=URL))


@dramatiq.actor
def noop(record: dict) -> None:
    handled()


if __name__ == "__main__":
    for records in backlog(1000):
        for record in records:
            noop.send(record)
