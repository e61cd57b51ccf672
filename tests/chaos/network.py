"""Hosts with networks of their own: a bridge, and a namespace with a veth pair per host. Needs root and `ip`."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator


def possible() -> bool:
    """Whether namespaces can be made here; tried, since being root is not enough in every container."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with made(1):
            return True
    except (subprocess.CalledProcessError, OSError):
        return False


class Network:
    """`address` is where Redis listens; `enter(i)` goes before a command that is to run on host i."""

    def __init__(self, hosts: int) -> None:
        token = secrets.token_hex(2)
        self._bridge = f"rcb{token}"
        self.names = [f"rcn{token}-{number}" for number in range(hosts)]
        self._links = [f"rcv{token}-{number}" for number in range(hosts)]
        net = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
        self.address = f"{net}.1"
        self._addresses = [f"{net}.{number + 2}/24" for number in range(hosts)]

    def make(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge", "forward_delay", "0")
        _ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for name, link, address in zip(self.names, self._links, self._addresses, strict=True):
            _ip("netns", "add", name)
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", link, "master", self._bridge, "up")
            _ip("-n", name, "addr", "add", address, "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Only what `make` made; whatever of it is there."""
        for name in self.names:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)
        for link in (*self._links, self._bridge):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("link", "del", link)

    def enter(self, host: int) -> list[str]:
        return ["ip", "netns", "exec", self.names[host]]

    def cut(self, host: int) -> None:
        _ip("link", "set", self._links[host], "down")

    def heal(self, host: int) -> None:
        _ip("link", "set", self._links[host], "up")


@contextlib.contextmanager
def made(hosts: int) -> Iterator[Network]:
    """A network that is gone afterwards, whatever happens."""
    network = Network(hosts)
    try:
        network.make()
        yield network
    finally:
        network.remove()


def free_port(address: str) -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        port: int = listener.getsockname()[1]
        return port


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)
