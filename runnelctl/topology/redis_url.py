"""The form of a Redis URL, and the same without its secrets."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from runnelctl.topology import unsupported

EMBEDDED = "embedded"
_SCHEMES = ("redis", "rediss", "unix")
_SECRET_PARAMETER = re.compile(r"([?&](?:password|passwd|ssl_password)=)[^&#]*", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)(?:([^/?#@:]*)(:))?([^/?#]*)@")


def mistake(url: str) -> str | None:
    """What is wrong with the form of a `redis:` value, in a sentence without its secrets; None if it is well formed."""
    if url == EMBEDDED:
        return None
    scheme, separator, _ = url.partition("://")
    if not separator:
        return "redis must be embedded, or a URL that begins with redis://, rediss:// or unix://"
    if scheme not in _SCHEMES:
        other = "valkey speaks redis://" if scheme.startswith("valkey") else "redis://, rediss:// and unix:// are known"
        return unsupported.redis_scheme(scheme) or f"unknown kind of Redis URL {scheme[:20]!r}: {other}"
    if re.search(r"[\x00-\x20\x7f]", url):
        return "the Redis URL holds a space or a control character (write %20)"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
        query = dict(parse_qsl(parts.query))
    except ValueError:
        return "the Redis URL has no valid host and port (a / # ? or @ in the password is written %2F %23 %3F %40)"
    if scheme == "unix":
        return None if parts.path.strip("/") else "the Redis URL names no socket, as in unix:///run/redis.sock"
    if not host or port == 0:
        return "the Redis URL names no host, as in redis://localhost:6379/0"
    database = query.get("db") or parts.path.strip("/") or "0"
    return (
        None
        if re.fullmatch("[0-9]{1,4}", database)
        else f"the Redis URL's database must be a number, not {database[:20]!r}"
    )


def redacted(url: str) -> str:
    """The URL with its password as ***: what may be shown to anybody."""
    hidden = _USERINFO.sub(lambda match: f"{match[1] or ''}:***@" if match[2] else f"{match[3]}@", url, count=1)
    return _SECRET_PARAMETER.sub(r"\1***", hidden)
