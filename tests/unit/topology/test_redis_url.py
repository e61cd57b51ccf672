"""Well-formed and malformed Redis URLs, and what is left of them in messages."""

from __future__ import annotations

import pytest

from runnelctl.topology import redis_url

GOOD = [
    *("redis+sentinel://h/main", "redis+sentinel://u:p@h1:26379,h2,[::1]:1/main/2?sentinel_password=x"),
    *("rediss+sentinel://h/main?ssl_ca_certs=/a", "valkey+sentinel://h/main"),
    *("embedded", "redis://localhost", "redis://localhost:6379/0", "redis://:secret@h:1/15", "redis://u:p@[::1]:6379"),
    *(
        "rediss://u:p@h:6380/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock",
        "unix:///a.sock?db=3",
        "REDIS://h",
        "redis://h?db=2",
    ),
]
BAD = {
    "": "must be embedded",
    "localhost:6379": "must be embedded",
    "redis:/h": "must be embedded",
    "valkey://h": "valkey speaks redis://",
    "redis+cluster://h": "not supported by this version yet",
    "redis+sentinel://h": "needs the name that the Sentinels give the primary",
    "redis+sentinel://h:0/main": "host and port can't be read",
    "redis+sentinel://h,/main": "host and port can't be read",
    "redis+sentinel://h/main/a": "database must be a number",
    "redis+sentinel://h/main?sentinel_pasword=a": "unknown option: sentinel_pasword",
    "redis://h:70000": "host and port can't be read",
    "redis://h:0": "port must be from 1 to 65535",
    "redis://h:x": "host and port can't be read (in a password",
    "redis://u:p/w@h": "can't be read (in a password",
    "redis://h/a": "database must be a number",
    "redis://h/0?db=²": "",
    "redis://a b": "a space or a control character",
    "redis://h?dbb=1": "unknown option: dbb (did you mean 'db'?)",
    "redis://h?ssl_keyfile=a": "unknown option: ssl_keyfile (it needs rediss://)",
    "redis://h?hunter2": "an unknown option",
    "unix://a/b": "the absolute path of a socket",
    "unix:///": "the absolute path of a socket",
}


@pytest.mark.parametrize("url", GOOD)
def test_well_formed(url: str) -> None:
    assert redis_url.mistake(url) is None


@pytest.mark.parametrize("url", [url for url, sentence in BAD.items() if sentence])
def test_malformed(url: str) -> None:
    found = redis_url.mistake(url)
    assert found is not None
    assert BAD[url] in found


HIDDEN = {
    "redis+sentinel://u:secret@h1,h2/main?sentinel_password=secret": "redis+sentinel://u:***@h1,h2/main?sentinel_password=***",
    "embedded": "embedded",
    "redis://h:6379/0": "redis://h:6379/0",
    "redis://user:secret@h": "redis://user:***@h",
    "redis://:secret@h": "redis://:***@h",
    "redis://secret@h": "redis://:***@h",
    "redis://user:se/cr@et#@h": "redis://user:***@h",
    "redis://h?password=secret&db=1": "redis://h?password=***&db=1",
    "unix://:secret@/a.sock?db=1": "unix://:***@/a.sock?db=1",
    "secret@h": "***@h",
}


@pytest.mark.parametrize("url", HIDDEN)
def test_no_secret_is_shown(url: str) -> None:
    assert redis_url.redacted(url) == HIDDEN[url]
