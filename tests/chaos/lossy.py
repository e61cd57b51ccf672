"""A TCP proxy in front of Redis that behaves as bad networks do; a process of its own.

python -m tests.chaos.lossy LISTEN_HOST LISTEN_PORT TARGET_HOST TARGET_PORT
Reads a mode per line from stdin, says it back on stdout once it holds:

normal          hand everything on
lose            what the server answers is thrown away and the connection closed: the command took effect
half-open       nothing passes in either direction, nothing is closed; connections of this time never come back
delay           every piece 200 ms late
split           byte by byte
hold-requests   what clients send is kept back and delivered late, even if they have hung up meanwhile
hold-replies    what the server answers is kept back and delivered late

`target HOST PORT` closes every connection and hands new ones on to another server.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys

DELAY_S = 0.2
SPLIT_BYTES = 64  # of each piece go one by one; all of a large reply would take for ever
MODES = ("normal", "lose", "half-open", "delay", "split", "hold-requests", "hold-replies")


class Proxy:
    """The mode and what waits for another one."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.mode = "normal"
        self._changed = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    def set(self, mode: str) -> None:
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    def aim(self, host: str, port: int) -> None:
        """Another server from now on."""
        self._target = (host, port)
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, to the end of either side."""
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, server_writer}
        requests = asyncio.create_task(self._pass(reader, server_writer, "requests"))
        replies = asyncio.create_task(self._pass(server_reader, writer, "replies"))
        _, pending = await asyncio.wait({requests, replies}, return_when=asyncio.FIRST_COMPLETED)
        if requests in pending and self.mode == "hold-requests":  # what is held must still reach the server
            await asyncio.wait({requests}, timeout=30)
        for task in pending:
            task.cancel()
        self._open -= {writer, server_writer}
        for side in (writer, server_writer):
            with contextlib.suppress(OSError, RuntimeError):
                side.transport.abort() if side is writer else side.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(1 << 16):
                mode = self.mode
                if mode == "half-open":
                    await asyncio.Event().wait()  # for ever
                while self.mode == f"hold-{what}":
                    await self._changed.wait()
                if mode == "lose" and what == "replies" and random.random() < 0.5:
                    return
                if mode == "delay":
                    await asyncio.sleep(DELAY_S)
                if mode == "split":
                    for at in range(min(SPLIT_BYTES, len(data))):
                        writer.write(data[at : at + 1])
                        await writer.drain()
                        await asyncio.sleep(0)
                    data = data[SPLIT_BYTES:]
                if data:
                    writer.write(data)
                    await writer.drain()


async def _main(listen: tuple[str, int], target: tuple[str, int]) -> None:
    proxy = Proxy(*target)
    await asyncio.start_server(proxy.serve, *listen)
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    print("listening", flush=True)
    while line := await stdin.readline():
        order = line.decode().strip()
        word, *words = order.split()
        if word == "target":
            proxy.aim(words[0], int(words[1]))
        else:
            proxy.set(word)
        print(order, flush=True)


if __name__ == "__main__":
    asyncio.run(_main((sys.argv[1], int(sys.argv[2])), (sys.argv[3], int(sys.argv[4]))))
