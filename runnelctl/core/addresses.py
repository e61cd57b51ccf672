"""Redis URLs that name several nodes: `redis+sentinel://user:password@h1:26379,h2/mymaster/0`."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

#: Schemes of a primary that Sentinels know -> whether it is TLS.
SENTINEL = {"redis+sentinel": False, "valkey+sentinel": False, "rediss+sentinel": True, "valkeys+sentinel": True}

Address = tuple[str, int]


def split(url: str, default_port: int) -> tuple[str, tuple[Address, ...]]:
    """The URL with the first of its nodes alone, as any URL is, and all nodes. Raises ValueError for a bad port."""
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    login, at, hosts = authority.rpartition("@")
    named = hosts.split(",")
    nodes = []
    for each in named:
        parts = urlsplit(f"x://{each}")
        if parts.port == 0 or (not parts.hostname and len(named) > 1):
            raise ValueError(each)
        nodes.append((unquote(parts.hostname or "localhost"), parts.port or default_port))
    return f"{scheme}://{login}{at}{named[0]}{rest[len(authority) :]}", tuple(nodes)


def joined(nodes: tuple[Address, ...]) -> str:
    """Nodes as a URL lists them."""
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in nodes)


def service_of(path: str) -> tuple[str, str]:
    """Of a URL's path, `/mymaster/0`: the name by which Sentinels know the primary, and the database or ''."""
    service, _, db = path.strip("/").partition("/")
    return unquote(service), db
