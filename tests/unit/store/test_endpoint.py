"""URLs become endpoints, mistakes become sentences, and passwords stay out of both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnelctl.errors import UsageError
from runnelctl.store.endpoint import Endpoint, Tls, hide, parse, unix


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", Endpoint(scheme="redis", host="localhost", port=6379)),
        ("redis://db.example", Endpoint(scheme="redis", host="db.example", port=6379)),
        ("  redis://db.example\n", Endpoint(scheme="redis", host="db.example", port=6379)),
        ("redis://db:7000/3", Endpoint(scheme="redis", host="db", port=7000, db=3)),
        ("redis://db?db=3", Endpoint(scheme="redis", host="db", port=6379, db=3)),
        ("redis://:p%40ss@db", Endpoint(scheme="redis", host="db", port=6379, password="p@ss")),
        (
            "redis://u%3A:p%2Fss@db:1/2",
            Endpoint(scheme="redis", host="db", port=1, db=2, username="u:", password="p/ss"),
        ),
        (
            "redis://db?username=u&password=p%26",
            Endpoint(scheme="redis", host="db", port=6379, username="u", password="p&"),
        ),
        ("redis://[::1]:7000", Endpoint(scheme="redis", host="::1", port=7000)),
        ("rediss://db", Endpoint(scheme="rediss", host="db", port=6379, tls=Tls())),
        (
            "rediss://db?ssl_cert_reqs=none",
            Endpoint(scheme="rediss", host="db", port=6379, tls=Tls(cert_reqs="none", check_hostname=False)),
        ),
        (
            "rediss://db?ssl_ca_certs=/a%20b/ca.pem&ssl_certfile=/c&ssl_keyfile=/k&ssl_check_hostname=false",
            Endpoint(
                scheme="rediss",
                host="db",
                port=6379,
                tls=Tls(check_hostname=False, ca_certs="/a b/ca.pem", certfile="/c", keyfile="/k"),
            ),
        ),
        (
            "redis+sentinel://u:p%2F@a:1,[::1],c/my%20main/3?sentinel_username=s&sentinel_password=q%26",
            Endpoint(
                scheme="redis+sentinel",
                db=3,
                username="u",
                password="p/",
                nodes=(("a", 1), ("::1", 26379), ("c", 26379)),
                service="my main",
                sentinel_username="s",
                sentinel_password="q&",
            ),
        ),
        (
            "rediss+sentinel://a/main?ssl_ca_certs=/ca",
            Endpoint(scheme="rediss+sentinel", nodes=(("a", 26379),), service="main", tls=Tls(ca_certs="/ca")),
        ),
        ("valkey+sentinel://a/m", Endpoint(scheme="valkey+sentinel", nodes=(("a", 26379),), service="m")),
        ("unix:///run/redis.sock", unix("/run/redis.sock")),
        ("unix:///a%20b.sock?db=2&password=p", Endpoint(scheme="unix", path="/a b.sock", db=2, password="p")),
        ("unix://u:p@/s", Endpoint(scheme="unix", path="/s", username="u", password="p")),
    ],
)
def test_a_url_becomes_an_endpoint_and_back(url: str, expected: Endpoint) -> None:
    assert parse(url) == expected
    assert parse(expected.url) == expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:6379", "is not a Redis URL"),
        ("", "is not a Redis URL"),
        ("http://localhost", "unknown scheme http://"),
        ("redis+sentinel://a,b", "name by which the Sentinels know the primary"),
        ("redis+sentinel://a,b:x/main", "port cannot be read"),
        ("redis+sentinel://a,,b/main", "port cannot be read"),
        ("redis+sentinel://a:0/main", "port cannot be read"),
        ("redis+sentinel://a/main/x", "the database must be a number"),
        ("redis+sentinel://a/main/1?db=2", "named twice"),
        ("redis+sentinel://a/main?ssl_keyfile=k", "unknown option ssl_keyfile"),
        ("redis://a?sentinel_password=x", "unknown option sentinel_password"),
        ("redis+cluster://a", "not supported"),
        ("redis://host:notaport", "host or port cannot be read"),
        ("redis://host:0", "1 to 65535"),
        ("redis://host:70000", "host or port cannot be read"),
        ("redis://[::1", "host or port cannot be read"),
        ("redis://host/orders", "not 'orders'"),
        ("redis://host/-1", "not '-1'"),
        ("redis://host/²", "must be a number"),
        ("redis://host/1?db=2", "named twice"),
        ("redis://host?db=1&db=2", "given twice"),
        ("redis://host?ssl_cert_reqs=none", "it needs rediss://"),
        ("rediss://host?ssl_cert_reqs=maybe", "required, optional, none"),
        ("rediss://host?ssl_check_hostname=maybe", "true or false"),
        ("redis://host?passwort=x", "did you mean password?"),
        ("redis://host?socket_timeout=1", "known are db, username, password"),
        ("unix://run/redis.sock", "absolute path"),
        ("unix://", "absolute path"),
        ("redis://:p#ss@host", "%23"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(url: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(url)
    assert told in str(caught.value)


def test_secrets_are_in_the_url_and_nowhere_else() -> None:
    endpoint = parse("redis://me:s3cret@db:7000/1")
    assert endpoint.shown == "redis://me:***@db:7000/1"
    assert "s3cret" not in f"{endpoint} {endpoint!r} {[endpoint]}"
    assert "s3cret" in endpoint.url
    assert parse("unix:///s?password=s3cret&db=1").shown == "unix://:***@/s?db=1"


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:s3cret@db:x",
        "redis://me:s3cret/@db:1",
        "redis://me:a/s3cret@db:1",
        "redis://me:s3cret#@db",
        "redis://me:s3cret?x@db",
        "redis://me:[s3cret@db",
        "redis://me:a@s3cret@db:x",
        "redis://s3cret@db:x",
        "me:s3cret@db",
        "redis://db?password=s3cret&db=x",
        "redis://db?password=a@s3cret&db=x",
        "redis://db?passwort=s3cret",
        "redis://db?ssl_password=s3cret",
        "ftp://me:s3cret@db",
        "redis+cluster://me:s3cret@db",
        "redis://:1/s3cret@db",
        "redis://:1?s3cret@db",
    ],
)
def test_no_mistake_shows_the_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(url)
    assert "s3cret" not in str(caught.value)


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_login_survives_the_way_there_and_back(username: str, password: str) -> None:
    endpoint = Endpoint(scheme="redis", host="db", port=1, username=username, password=password)
    try:
        url = endpoint.url
    except UnicodeEncodeError:  # a lone surrogate is no text that a URL could carry
        return
    assert parse(url) == endpoint


@given(st.text())
def test_garbage_is_refused_and_never_raises_anything_else(text: str) -> None:
    for url in (text, f"redis://{text}", f"unix://{text}", f"rediss://h?{text}"):
        try:
            parse(url)
        except UsageError:
            assert hide(url) is not None


def test_sentinels_and_the_primary_that_they_name_have_logins_of_their_own() -> None:
    url = "rediss+sentinel://u:p@a:1,b:2/main/3?sentinel_username=s&sentinel_password=q&ssl_cert_reqs=none"
    endpoint = parse(url)
    first, second = endpoint.sentinels
    assert (first.host, first.port, first.username, first.password, first.db) == ("a", 1, "s", "q", 0)
    assert (second.host, second.tls) == ("b", endpoint.tls)
    found = endpoint.at(("10.0.0.1", 6380))
    assert found.url == "rediss://u:p@10.0.0.1:6380/3?ssl_cert_reqs=none"
    assert "sentinel_password=***" in endpoint.shown
    assert ":***@" in endpoint.shown
