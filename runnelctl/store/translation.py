"""What redis-py and the operating system raise, as one sentence that says what is wrong and what to do."""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis

from runnelctl.errors import RedisUnfit, RedisUnreachable, RunnelctlError
from runnelctl.store.endpoint import Endpoint

#: the first word of an error reply -> what it means. redis-py takes some of these words off and gives a class instead.
_REPLIES: dict[str, tuple[type[RunnelctlError], str]] = {
    "NOAUTH": (RedisUnreachable, "needs a password; write it into the URL, as redis://user:password@host"),
    "WRONGPASS": (RedisUnreachable, "refuses the user name or password"),
    "DENIED": (RedisUnreachable, "is in protected mode: it has no password and answers its own machine only; set one"),
    "LOADING": (RedisUnreachable, "is still loading its data; try again when it is done"),
    "MASTERDOWN": (RedisUnreachable, "is a replica that has lost its primary; name the primary"),
    "CLUSTERDOWN": (RedisUnreachable, "belongs to a cluster that is down"),
    "BUSY": (RedisUnreachable, "is busy running somebody's script; SCRIPT KILL ends it"),
    "READONLY": (RedisUnfit, "is a read-only replica; name the primary"),
    "OOM": (RedisUnfit, "is full: used memory is above maxmemory; raise it or remove data"),
    "NOREPLICAS": (RedisUnfit, "takes no writes: fewer replicas are in touch than min-replicas-to-write asks for"),
    "NOPERM": (RedisUnfit, "does not let this user do what is needed"),
    "MOVED": (RedisUnfit, "runs in cluster mode, which is not supported by this version"),
    "CROSSSLOT": (RedisUnfit, "runs in cluster mode, which is not supported by this version"),
}
#: redis-py's classes, by name: only who uses it pays for importing it.
_CLASSES = (
    ("BusyLoadingError", "LOADING"),
    ("MasterDownError", "MASTERDOWN"),
    ("ClusterDownError", "CLUSTERDOWN"),
    ("ReadOnlyError", "READONLY"),
    ("OutOfMemoryError", "OOM"),
    ("NoPermissionError", "NOPERM"),
    ("MovedError", "MOVED"),
    ("ClusterCrossSlotError", "CROSSSLOT"),
)
_UNREACHABLE = {
    errno.ECONNREFUSED: "refuses the connection; is the server running there?",
    errno.EHOSTUNREACH: "cannot be reached: no route to that host",
    errno.ENETUNREACH: "cannot be reached: no route to that network",
    errno.ETIMEDOUT: "does not answer in time",
    errno.EACCES: "cannot be opened: this user has no permission for the socket",
    errno.EPERM: "cannot be reached: a firewall or sandbox forbids it",
    errno.EMFILE: "cannot be reached: this process has too many files open (ulimit -n)",
}


def _raised(name: str) -> tuple[Any, ...]:
    """The class of that name in redis-py; none if it was never imported, since then nothing of it was raised either."""
    module = sys.modules.get("redis.exceptions")
    return () if module is None else (getattr(module, name),)


@contextmanager
def translated(endpoint: Endpoint) -> Iterator[None]:
    """Raises what redis-py, or a `Line`, raises inside as RedisUnreachable or RedisUnfit. Also good around `await`."""
    try:
        yield
    except BrokenPipeError:
        raise  # of stdout; connections wrap their own
    except Exception as error:
        kinds = (hiredis.HiredisError, EOFError, OSError, *_raised("RedisError"))
        # An OSError that names a file is about that file and not about a connection.
        if not isinstance(error, kinds) or (isinstance(error, OSError) and error.filename is not None):
            raise
        raise translate(error, endpoint) from error


def is_refusal(error: BaseException, word: str = "") -> bool:
    """Whether a server that can be reached refused a command; with a `word`, for that reason."""
    if not isinstance(error, (hiredis.ReplyError, *_raised("ResponseError"))):
        return False
    return (
        not word
        or str(error).startswith(word)
        or any(isinstance(error, _raised(name)) for name, meant in _CLASSES if meant == word)
    )


def translate(error: BaseException, endpoint: Endpoint) -> RunnelctlError:
    """`error`, from redis-py, hiredis or a socket, as the error to end with. One of ours is given back as it is."""
    if (ours := _ours(error)) is not None:
        return ours
    at = f"Redis at {endpoint.shown}"
    if isinstance(error, (hiredis.ProtocolError, *_raised("InvalidResponse"))):
        return RedisUnreachable(f"what answers at {endpoint.shown} is not Redis; check host and port")
    # The asyncio client wraps a refused password in a ConnectionError.
    reply = _reply(error) or (_reply(error.__cause__) if error.__cause__ is not None else None)
    if reply is not None:
        kind, meaning = reply
        return kind(f"{at} {meaning}")
    cause = _os_error(error)
    if cause is not None:
        return RedisUnreachable(_connection(cause, endpoint))
    if isinstance(error, (TimeoutError, *_raised("TimeoutError"))):
        return RedisUnreachable(f"{at} does not answer in time")
    if isinstance(error, (EOFError, *_raised("ConnectionError"))):
        text = str(error).strip().rstrip(".")
        if not text or "closed" in text.lower():
            return RedisUnreachable(_closed(endpoint))
        return RedisUnreachable(f"{at} cannot be reached: {text}")
    return RedisUnfit(f"{at} refuses a command: {error}")


def _reply(error: BaseException) -> tuple[type[RunnelctlError], str] | None:
    """What an error reply means, or None if `error` is not one that is known."""
    text = str(error)
    for name, word in _CLASSES:
        if isinstance(error, _raised(name)):
            return _meaning(word, text)
    if isinstance(error, _raised("AuthenticationError")):
        return _authentication(text)
    if not isinstance(error, (hiredis.ReplyError, *_raised("ResponseError"), *_raised("ConnectionError"))):
        return None
    if isinstance(error, hiredis.ReplyError) and text.startswith(("NOAUTH", "ERR AUTH", "ERR Client sent AUTH")):
        return _authentication(text)
    if "max number of clients reached" in text:
        return RedisUnreachable, "has no room for another client (maxclients)"
    word = text.partition(" ")[0].lstrip("-")
    if "compiling script" in text:
        return RedisUnfit, "cannot run our scripts: it is older than Redis 7.0, the oldest that will do"
    if word == "MISCONF":
        return RedisUnfit, f"takes no writes because it cannot save; its disk may be full. It says: {text}"
    return _meaning(word, text.partition(" ")[2])


def _meaning(word: str, detail: str) -> tuple[type[RunnelctlError], str] | None:
    """What the first word of an error reply means; `detail` is the rest of it."""
    if word not in _REPLIES:
        return None
    kind, meaning = _REPLIES[word]
    return kind, f"{meaning}: {detail}" if word == "NOPERM" else meaning


def _authentication(text: str) -> tuple[type[RunnelctlError], str]:
    if "without any password" in text or "no password is set" in text:
        return RedisUnreachable, "has no password set, but the URL names one; leave it out"
    if "required" in text.lower():
        return _REPLIES["NOAUTH"]
    return _REPLIES["WRONGPASS"]


def _ours(error: BaseException) -> RunnelctlError | None:
    """An error of ours, as it is or with redis-py's around it (store/primary.py)."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, RunnelctlError):
        seen = seen.__cause__
    return seen


def _os_error(error: BaseException) -> OSError | None:
    """The error of the operating system behind `error`: redis-py hides it in the chain of causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _closed(endpoint: Endpoint) -> str:
    tls = ", or expects TLS (rediss://)" if endpoint.scheme == "redis" else ""
    return f"Redis at {endpoint.shown} closed the connection: it was stopped, has too many clients (maxclients){tls}"


def _connection(error: OSError, endpoint: Endpoint) -> str:
    at = f"Redis at {endpoint.shown}"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or error.reason
        return f"the certificate of {at} is not trusted: {reason}; name its authority with ?ssl_ca_certs=FILE"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with {at}: {error.reason or error}; a server without TLS is named redis://"
    if isinstance(error, socket.gaierror):
        return f"the host name {endpoint.host!r} of {endpoint.shown} cannot be found"
    if error.errno == errno.ENOENT:
        if endpoint.tls is not None:
            return f"a certificate or key file named in {endpoint.shown} does not exist"
        return f"there is no socket {endpoint.path}; is Redis running, with `unixsocket {endpoint.path}`?"
    if isinstance(error, TimeoutError):
        return f"{at} does not answer in time"
    if isinstance(error, (BrokenPipeError, ConnectionResetError, ConnectionAbortedError)):
        return _closed(endpoint)
    if error.errno in _UNREACHABLE:
        return f"{at} {_UNREACHABLE[error.errno]}"
    return f"{at} cannot be reached: {error.strerror or error}"
