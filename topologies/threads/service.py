"""What the application calls when something has happened: `SystemEvents.trigger`, as in a service layer.

python -m threads.service          send a morning's facts, from the directory above this one
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import runnelctl

TOPOLOGY = Path(__file__).resolve().parents[1] / "threads.yaml"
TEXT = "order keeps what happened to a thread in the way it happened, so nobody reads an answer before the question"
WORDS = TEXT.replace(",", "").split()


class SystemEvents:
    """Publishes facts. A fact is what happened and what surrounded it; it has no `updated_at`, as it never changes."""

    def __init__(self, client: runnelctl.BlockingClient) -> None:
        self._client = client

    def trigger(self, kind: str, thread: str, **context: Any) -> str:
        """Publish one fact under the key of its thread; returns its id. It is stored once this returns."""
        return self._client.send("facts", fact(kind, thread, **context))


def fact(kind: str, thread: str, **context: Any) -> dict[str, Any]:
    """The record of a fact."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return {"type": kind, "thread": thread, "at": now, "context": context}


def morning(threads: int = 40, posts: int = 25, seed: int = 1) -> Iterator[dict[str, Any]]:
    """The same facts for the same seed: every thread is opened, then posted to, corrected and cleaned up, mixed."""
    rng = random.Random(seed)
    plans = []
    for number in range(threads):
        name = f"thread-{number}"
        opened = ("ThreadOpened", name, {"by": f"user-{number % 7}", "title": " ".join(rng.sample(WORDS, 4))})
        plans.append([opened, *(_posted(rng, name, post) for post in range(posts))])
    while plans:
        plan = rng.choice(plans)
        kind, thread, context = plan.pop(0)
        yield fact(kind, thread, **context)
        if not plan:
            plans.remove(plan)


def _posted(rng: random.Random, thread: str, number: int) -> tuple[str, str, dict[str, Any]]:
    by = f"user-{rng.randrange(7)}"
    if number > 3 and rng.random() < 0.2:
        return "PostRemoved", thread, {"by": by, "post": f"post-{rng.randrange(number)}"}
    kind, post = (
        ("PostUpdated", rng.randrange(number)) if number > 2 and rng.random() < 0.2 else ("PostCreated", number)
    )
    return kind, thread, {"by": by, "post": f"post-{post}", "text": " ".join(rng.sample(WORDS, 6))}


if __name__ == "__main__":
    with runnelctl.connect_sync(TOPOLOGY) as client:
        print(f"{len(client.send_many('facts', morning())):,} facts sent")
