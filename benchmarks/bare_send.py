"""What `send --file` is held against: the lines of a file into the streams of a topology by pipelined XADD, as redis-py
does it. It looks at no line: no check, no key, the partitions in turn.

python -m benchmarks.bare_send SOCKET TOPOLOGY STREAM PARTITIONS FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

import redis

WINDOW = 1_000


def main(socket: str, topology: str, stream: str, partitions: int, file: Path) -> None:
    names = [f"{{{topology}:{stream}:{partition}}}:events" for partition in range(partitions)]
    with redis.Redis(unix_socket_path=socket) as client, file.open("rb") as lines:
        pipe, waiting = client.pipeline(transaction=False), 0
        for number, line in enumerate(lines):
            pipe.xadd(names[number % partitions], {"data": line.rstrip(), "key": "user-1"})
            waiting += 1
            if waiting == WINDOW:
                pipe.execute()
                waiting = 0
        pipe.execute()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]))
