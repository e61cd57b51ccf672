"""Where a Redis is: a URL as a value, with its secrets kept out of every message. Knows nothing of redis-py."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from runnelctl.core import addresses
from runnelctl.core.addresses import Address
from runnelctl.errors import UsageError

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
HIDDEN = "***"
_EXAMPLES = (
    "redis://host:6379/0, rediss://user:password@host:6380/0 unix:///path/to.sock?db=0 or redis+sentinel://h1,h2/NAME/0"
)
_VERIFY = ("required", "optional", "none")
_LOGIN_OPTIONS = ("db", "username", "password")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_TLS_OPTIONS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
# The value of every option but these is hidden: `passwort=` holds one too.
_SECRET_OPTION = re.compile(rf"([?&](?!(?:db|username|sentinel_username|{'|'.join(_TLS_OPTIONS)})=)[^=&]*=)[^&]*")
_ESCAPES = "special characters in a password are written as %XX, a # as %23"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a `rediss://` connection is secured. `cert_reqs` is required, optional or none; the rest are file paths."""

    cert_reqs: str = "required"
    check_hostname: bool = True
    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Endpoint:
    """One Redis server: either `host` and `port`, or the `path` of a unix socket; or the primary that the Sentinels at
    `nodes` know as `service`, which `at` turns into a server. `tls` is set for `rediss` and `rediss+sentinel` only."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None
    nodes: tuple[Address, ...] = ()
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    def at(self, address: Address) -> Endpoint:
        """The server at an address that a Sentinel gave; login, database and TLS are those of this URL."""
        scheme = "rediss" if self.tls else "redis"
        host, port = address
        return replace(self, scheme=scheme, host=host, port=port, nodes=(), service="",
                       sentinel_username=None, sentinel_password=None)  # fmt: skip

    @property
    def sentinels(self) -> tuple[Endpoint, ...]:
        """The Sentinels as servers, with the login that is theirs."""
        login = {"username": self.sentinel_username, "password": self.sentinel_password, "db": 0}
        return tuple(replace(self.at(node), **login) for node in self.nodes)  # type: ignore[arg-type]

    @property
    def shown(self) -> str:
        """The URL for messages, with the password replaced by `***`."""
        return self._url(HIDDEN if self.password else None, HIDDEN if self.sentinel_password else None)

    @property
    def url(self) -> str:
        """The whole URL, password included; `parse` gives back an equal endpoint."""
        return self._url(*(quote(each, safe="") if each else None for each in (self.password, self.sentinel_password)))

    def __repr__(self) -> str:
        return f"Endpoint({self.shown!r})"

    def _url(self, password: str | None, sentinel_password: str | None) -> str:
        login = quote(self.username or "", safe="") + (f":{password}" if password else "")
        login = f"{login}@" if login else ""
        if self.scheme == "unix":
            return f"unix://{login}{quote(self.path)}" + (f"?db={self.db}" if self.db else "")
        options = self._tls_options()
        if self.service:
            where = f"{addresses.joined(self.nodes)}/{quote(self.service, safe='')}"
            options += [("sentinel_username", self.sentinel_username and quote(self.sentinel_username, safe=""))]
            options += [("sentinel_password", sentinel_password)]
        else:
            where = addresses.joined(((self.host, self.port),))
        query = "&".join(f"{name}={value}" for name, value in options if value)
        return f"{self.scheme}://{login}{where}/{self.db}{'?' if query else ''}{query}"

    def _tls_options(self) -> list[tuple[str, str | None]]:
        tls = self.tls
        if tls is None or tls == Tls():
            return []
        options = [
            ("ssl_cert_reqs", tls.cert_reqs if tls.cert_reqs != "required" else None),
            ("ssl_check_hostname", None if tls.check_hostname or tls.cert_reqs == "none" else "false"),
            ("ssl_ca_certs", tls.ca_certs),
            ("ssl_certfile", tls.certfile),
            ("ssl_keyfile", tls.keyfile),
        ]
        return [(name, quote(value)) for name, value in options if value]


def unix(path: str) -> Endpoint:
    """The endpoint of a server that listens on the unix socket `path`."""
    return Endpoint(scheme="unix", path=path)


def parse(url: str) -> Endpoint:
    """The endpoint that a `redis://`, `rediss://`, `unix://` or `redis+sentinel://` URL names. Raises UsageError, the
    password hidden."""
    url = url.strip()
    scheme = url.partition("://")[0].lower()
    if "://" not in url:
        raise UsageError(f"{hide(url)!r} is not a Redis URL; write {_EXAMPLES}, or `embedded`")
    if scheme.endswith("+cluster"):
        raise UsageError(f"{hide(url)!r}: {scheme}:// is not supported by this version; name one server as {_EXAMPLES}")
    by_sentinel = scheme in addresses.SENTINEL
    if scheme not in ("redis", "rediss", "unix") and not by_sentinel:
        raise UsageError(f"{hide(url)!r}: unknown scheme {scheme}://; write {_EXAMPLES}")
    nodes: tuple[Address, ...] = ()
    plain = url
    try:
        if by_sentinel:
            plain, nodes = addresses.split(url, DEFAULT_SENTINEL_PORT)
        parts = urlsplit(plain)
        port = parts.port
    except ValueError:
        # The error's own text may quote a piece of the password, as when it holds an unescaped "/" or "[".
        raise _bad(url, f"host or port cannot be read; {_ESCAPES}") from None
    if "#" in url or (scheme != "unix" and "@" in parts.path):
        raise _bad(url, _ESCAPES)
    options = _options(url, parts, scheme)
    if scheme == "unix":
        return _unix(url, parts, options)
    if by_sentinel:
        return _sentinel(url, parts, nodes, options)
    return _tcp(url, parts, DEFAULT_PORT if port is None else port, options)


def hide(url: str) -> str:
    """`url` with everything that may be a password replaced, however malformed it is."""
    shown = _SECRET_OPTION.sub(rf"\g<1>{HIDDEN}", url)
    head, at, tail = shown.rpartition("@")
    if not at:
        return shown
    scheme, separator, login = head.partition("://")
    if not separator:
        return f"{HIDDEN}@{tail}"
    user = login.partition(":")[0] if ":" in login else ""
    return f"{scheme}://{user}:{HIDDEN}@{tail}"


def _tcp(url: str, parts: SplitResult, port: int, options: dict[str, str]) -> Endpoint:
    if not 1 <= port <= 65535:
        raise _bad(url, "the port must be 1 to 65535")
    path = unquote(parts.path).strip("/")
    if path and "db" in options:
        raise _bad(url, "the database is named twice, in the path and as ?db=")
    tls = _tls(url, options) if parts.scheme == "rediss" else None
    username, password = _login(parts, options)
    return Endpoint(
        scheme=parts.scheme,
        host=unquote(parts.hostname or "localhost"),
        port=port,
        db=_db(url, path or options.get("db", "0")),
        username=username,
        password=password,
        tls=tls,
    )


def _sentinel(url: str, parts: SplitResult, nodes: tuple[Address, ...], options: dict[str, str]) -> Endpoint:
    service, db = addresses.service_of(parts.path)
    if not service:
        raise _bad(url, "it needs the name by which the Sentinels know the primary: redis+sentinel://host/mymaster/0")
    if db and "db" in options:
        raise _bad(url, "the database is named twice, in the path and as ?db=")
    username, password = _login(parts, options)
    return Endpoint(
        scheme=parts.scheme,
        db=_db(url, db or options.get("db", "0")),
        username=username,
        password=password,
        tls=_tls(url, options) if addresses.SENTINEL[parts.scheme] else None,
        nodes=nodes,
        service=service,
        sentinel_username=options.get("sentinel_username") or None,
        sentinel_password=options.get("sentinel_password") or None,
    )


def _unix(url: str, parts: SplitResult, options: dict[str, str]) -> Endpoint:
    path = unquote(parts.path)
    if parts.hostname or not path.startswith("/") or path == "/":
        raise _bad(url, "a unix URL needs the absolute path of a socket: unix:///path/to.sock")
    username, password = _login(parts, options)
    db = _db(url, options.get("db", "0"))
    return Endpoint(scheme="unix", path=path, db=db, username=username, password=password)


def _login(parts: SplitResult, options: dict[str, str]) -> tuple[str | None, str | None]:
    username = unquote(parts.username) if parts.username else options.get("username")
    password = unquote(parts.password) if parts.password else options.get("password")
    return username or None, password or None


def _db(url: str, text: str) -> int:
    # isascii too: "²".isdigit() holds, and int() refuses it.
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise _bad(url, f"the database must be a number such as 0, not {text!r}")
    return int(text)


def _tls(url: str, options: dict[str, str]) -> Tls:
    verify = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if verify not in _VERIFY:
        raise _bad(url, f"ssl_cert_reqs must be one of {', '.join(_VERIFY)}")
    check = options.get("ssl_check_hostname", "true").lower()
    if check not in ("true", "false", "1", "0", "yes", "no"):
        raise _bad(url, "ssl_check_hostname must be true or false")
    return Tls(
        cert_reqs=verify,
        # A name can only be checked on a certificate that is itself checked; Python's ssl refuses the other mix.
        check_hostname=verify != "none" and check in ("true", "1", "yes"),
        ca_certs=options.get("ssl_ca_certs"),
        certfile=options.get("ssl_certfile"),
        keyfile=options.get("ssl_keyfile"),
    )


def _options(url: str, parts: SplitResult, scheme: str) -> dict[str, str]:
    known = _LOGIN_OPTIONS + (_TLS_OPTIONS if scheme == "rediss" or addresses.SENTINEL.get(scheme) else ())
    known += _SENTINEL_OPTIONS if scheme in addresses.SENTINEL else ()
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if "@" in name:
            raise _bad(url, _ESCAPES)
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            hint = "it needs rediss://" if name in _TLS_OPTIONS else hint
            raise _bad(url, f"unknown option {name}; {hint}")
        if name in options:
            raise _bad(url, f"the option {name} is given twice")
        options[name] = value
    return options


def _bad(url: str, why: str) -> UsageError:
    return UsageError(f"{hide(url)!r}: {why}")
