"""A proxy in front of a Redis server that loses replies, the fault that makes senders and committers ask again."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from collections.abc import Callable
from typing import Any

import hiredis

from tests.servers import Server


class Fault(enum.Enum):
    """What happens to one command."""

    LOSE_REPLY = "the server runs it, its reply is thrown away and the connection closed"
    CUT = "the connection is closed before the server sees it"


class Proxy:
    """Listens on a TCP port of 127.0.0.1 and hands commands on, one at a time per connection.

    `fault(number, words)` is asked about each command, numbered from 0 over all connections; None lets it pass.
    """

    def __init__(self, server: Server, fault: Callable[[int, list[bytes]], Fault | None]) -> None:
        self._server, self._fault = server, fault
        self._lock = threading.Lock()
        self._commands = 0
        self.faults = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            with self._lock:
                self._open |= {client, server}
            try:
                server.connect(str(self._server.socket))
                requests = hiredis.Reader()
                while data := client.recv(1 << 16):
                    requests.feed(data)
                    while (words := requests.gets()) is not False:
                        if not self._pass(words, client, server):
                            return
            finally:
                with self._lock:
                    self._open -= {client, server}

    def _pass(self, words: list[bytes], client: socket.socket, server: socket.socket) -> bool:
        with self._lock:
            fault = self._fault(self._commands, words)
            self._commands += 1
            self.faults += fault is not None
        if fault is Fault.CUT:
            return False
        server.sendall(hiredis.pack_command(tuple(words)))
        reply = _reply(server)
        if fault is Fault.LOSE_REPLY or not reply:
            return False
        client.sendall(reply)
        return True


def _reply(server: socket.socket) -> bytes:
    """The bytes of one whole reply; empty if the server hung up."""
    reader: Any = hiredis.Reader()
    whole = b""
    while data := server.recv(1 << 16):
        whole += data
        reader.feed(data)
        if reader.gets() is not False:
            return whole
    return b""
