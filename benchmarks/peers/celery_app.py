"""celery with its Redis broker: a task per event, acked one by one after it (`acks_late`): at least once, no order."""

from celery import Celery

from benchmarks.peers.tally import URL, backlog, handled

app = Celery("peer", broker=URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=256,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(record: dict) -> None:
    handled()


if __name__ == "__main__":
    for records in backlog(1000):
        for record in records:
            noop.delay(record)
