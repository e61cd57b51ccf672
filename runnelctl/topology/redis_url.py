"""The form of a Redis URL, and the same without its secrets. Whether anything answers is for `store` to say."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from runnelctl.core import addresses
from runnelctl.topology import unsupported
from runnelctl.topology.wording import did_you_mean

EMBEDDED = "embedded"
_LOGIN_OPTIONS = ("db", "username", "password")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_TLS_OPTIONS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_SECRET_OPTION = re.compile(rf"([?&](?!(?:db|username|sentinel_username|{'|'.join(_TLS_OPTIONS)})=)[^=&]*=)[^&]*")
_ESCAPES = "in a password, / # ? and @ are written %2F %23 %3F %40"


def mistake(url: str) -> str | None:
    """What is wrong with the form of a `redis:` value, in a sentence without its secrets; None if it is well formed."""
    if url == EMBEDDED:
        return None
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        near = did_you_mean(url, (EMBEDDED,)) if "@" not in url else ""
        return (
            f"redis must be embedded, or a URL that begins with redis://, rediss://, unix:// or redis+sentinel://{near}"
        )
    by_sentinel = scheme in addresses.SENTINEL
    if scheme not in ("redis", "rediss", "unix") and not by_sentinel:
        other = "valkey speaks redis://" if scheme.startswith("valkey") else "redis://, rediss:// and unix:// are known"
        return unsupported.redis_scheme(scheme) or f"unknown kind of Redis URL: {other}"
    if re.search(r"[\x00-\x20\x7f]", url):
        return "the Redis URL holds a space or a control character (a space is written %20)"
    try:
        if by_sentinel:
            url, _ = addresses.split(url, 1)
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"the Redis URL's host and port can't be read ({_ESCAPES})"
    if "#" in url or (scheme != "unix" and "@" in parts.path):
        return f"the Redis URL can't be read ({_ESCAPES})"
    return _misplaced(scheme, parts, port) or _wrong_option(scheme, parts)


def _misplaced(scheme: str, parts: SplitResult, port: int | None) -> str | None:
    if scheme == "unix":
        wrong = parts.hostname or not parts.path.startswith("/") or parts.path == "/"
        return "the Redis URL needs the absolute path of a socket, as in unix:///run/redis.sock" if wrong else None
    if scheme in addresses.SENTINEL and not addresses.service_of(parts.path)[0]:
        return (
            "the Redis URL needs the name that the Sentinels give the primary, as in redis+sentinel://host/mymaster/0"
        )
    return "the Redis URL's port must be from 1 to 65535" if port == 0 else None


def _wrong_option(scheme: str, parts: SplitResult) -> str | None:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = _LOGIN_OPTIONS + (_TLS_OPTIONS if scheme == "rediss" or addresses.SENTINEL.get(scheme) else ())
    known += _SENTINEL_OPTIONS if scheme in addresses.SENTINEL else ()
    for name in options:
        if name not in known:
            near = " (it needs rediss://)" if name in _TLS_OPTIONS else did_you_mean(name, known)
            # Named only if it resembles an option: it might be a piece of a password.
            return f"the Redis URL has an unknown option{': ' + name + near if near else ''}"
    database = "" if scheme == "unix" else parts.path.strip("/")
    if scheme in addresses.SENTINEL:
        database = addresses.service_of(parts.path)[1]
    if not re.fullmatch("[0-9]{1,6}", database or options.get("db", "0")):
        return "the Redis URL's database must be a number, as the 0 in redis://localhost:6379/0"
    return None


def redacted(url: str) -> str:
    """The URL with whatever may be a password as ***, however malformed it is: what may be shown to anybody."""
    shown = _SECRET_OPTION.sub(r"\1***", url)
    head, at, tail = shown.rpartition("@")
    if not at:
        return shown
    scheme, separator, login = head.partition("://")
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user if colon else ''}:***@{tail}" if separator else f"***@{tail}"
