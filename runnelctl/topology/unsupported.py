"""What the topology format has and this version has not, in one place: shrink it as things are built.

A key or value listed here gets "... is not supported by this version yet" instead of "unknown". Paths are those of
the file, with `*` for a name.
"""

from __future__ import annotations

_KEYS: dict[str, dict[str, str]] = {}

_VALUES: dict[str, tuple[str, ...]] = {}

_REDIS_SCHEMES = ("redis+cluster", "rediss+cluster", "valkey+cluster", "valkeys+cluster")

_SENTENCE = "is not supported by this version yet"


def key(parent: str, name: str) -> str | None:
    """The sentence for a key that the format has and this version has not; None for any other."""
    what = _KEYS.get(parent, {}).get(name)
    return f"{what} {_SENTENCE}" if what else None


def value(path: str, given: object) -> str | None:
    """The sentence for a value that the format has and this version has not; None for any other."""
    name = path.rpartition(".")[2]
    return f"{name}: {given} {_SENTENCE}" if given in _VALUES.get(path, ()) else None


def redis_scheme(scheme: str) -> str | None:
    """The sentence for a Redis URL of a kind that is still to come; None for any other."""
    return f"{scheme}:// {_SENTENCE}" if scheme in _REDIS_SCHEMES else None
