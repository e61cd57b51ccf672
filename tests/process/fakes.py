"""A server that speaks just enough of the Redis protocol to be refused: an old version, a Sentinel, no Redis at all."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Mapping
from typing import Any, Self


class FakeRedis:
    """Answers INFO with `info`, HELLO, CLIENT and SELECT with OK, and everything else, and those too if there is no
    `info` to be asked for, with the line `reply`."""

    def __init__(self, info: Mapping[str, str], reply: str = "") -> None:
        facts = {"redis_version": "7.4.0", "redis_mode": "standalone", "role": "master", **info}
        text = "".join(f"{name}:{value}\r\n" for name, value in facts.items()).encode()
        scripts = "script" in reply

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while (request := self._request()) is not None:
                    self.wfile.write(answer(request[0].upper()))

            def _request(self) -> list[bytes] | None:
                first = self.rfile.readline()
                if not first.startswith(b"*"):
                    return None
                return [self._bulk() for _ in range(int(first[1:]))]

            def _bulk(self) -> bytes:
                data = self.rfile.read(int(self.rfile.readline()[1:]) + 2)
                return data[:-2]

        def answer(word: bytes) -> bytes:
            if reply and not (scripts and word not in (b"EVAL", b"EVALSHA")):
                return f"{reply}\r\n".encode()
            if word == b"INFO":
                return b"$%d\r\n%s\r\n" % (len(text), text)
            if word == b"HMGET":
                return b'*1\r\n$45\r\n{"partitions": 2, "partitioner": "crc32"}    \r\n'
            return b"*0\r\n" if word == b"CONFIG" else b"+OK\r\n"

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        socketserver.ThreadingTCPServer.daemon_threads = True
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.server_address[1]}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
