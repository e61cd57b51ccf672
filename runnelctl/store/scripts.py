"""The Lua scripts, by name. A `Script` is only text and its digest, so that every kind of connection can run it.

A server forgets its scripts when it restarts or fails over, so EVALSHA is a guess: NOSCRIPT means nothing ran, and the
same call is repeated with the text.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import redis

    from runnelctl.store.line import Line

Word = str | bytes | int


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file: `name`, `text`, and the `sha1` by which EVALSHA calls it."""

    name: str
    text: str
    sha1: str

    def by_digest(self, keys: Sequence[Word], args: Sequence[Word]) -> tuple[Word, ...]:
        """The words of an EVALSHA."""
        return ("EVALSHA", self.sha1, len(keys), *keys, *args)

    def by_text(self, keys: Sequence[Word], args: Sequence[Word]) -> tuple[Word, ...]:
        """The words of an EVAL, for a server that answered NOSCRIPT."""
        return ("EVAL", self.text, len(keys), *keys, *args)


@functools.cache
def script(name: str) -> Script:
    """The script in `store/lua/<name>.lua`. Raises FileNotFoundError if there is none."""
    text = _folder().joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def load_all() -> None:
    """Read every script now. Processes that are forked later run those that belong to the code that they run, also if
    another version is installed under way, and need not read files before they work."""
    for file in _folder().iterdir():
        if file.name.endswith(".lua"):
            script(file.name.removesuffix(".lua"))


def _folder() -> Traversable:
    return resources.files("runnelctl.store").joinpath("lua")


def is_noscript(error: object) -> bool:
    """Whether an error reply says that the server does not know the script (and so ran nothing)."""
    return type(error).__name__ == "NoScriptError" or str(error).startswith("NOSCRIPT")


def run(client: redis.Redis | Line, called: Script, keys: Sequence[Word], args: Sequence[Word]) -> Any:
    """Run a script on a blocking client and return its raw reply. Raises what the client raises."""
    try:
        return _any(client).execute_command(*called.by_digest(keys, args))
    except Exception as error:
        if not is_noscript(error):
            raise
        return _any(client).execute_command(*called.by_text(keys, args))


def _any(client: Any) -> Any:
    """redis-py leaves execute_command without types."""
    return client
