"""Runnel's `Record`: a pydantic model where pydantic is installed, else a msgspec Struct with the same fields."""

from __future__ import annotations

import importlib
import typing
from typing import Any

_PRIMITIVE: dict[type, bool] = {}

try:
    _BaseModel: Any = importlib.import_module("pydantic").BaseModel

    class Record(_BaseModel):  # type: ignore[misc]
        """A structured record, or with `primitive=True` a flat one that is stored in native Redis fields."""

        def __init_subclass__(cls, *, primitive: bool = False, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            _PRIMITIVE[cls] = primitive

except ImportError:
    import msgspec

    class _Meta(type(msgspec.Struct)):  # type: ignore[misc]
        """Takes `primitive` off the class keywords: a Struct knows only its own."""

        def __new__(
            cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, primitive: bool = False, **kw: Any
        ) -> Any:
            made = super().__new__(cls, name, bases, namespace, **{"kw_only": True, **kw})
            _PRIMITIVE[made] = primitive
            return made

    class Record(msgspec.Struct, metaclass=_Meta):  # type: ignore[no-redef]
        """A structured record, or with `primitive=True` a flat one that is stored in native Redis fields."""

        def dict(self) -> dict[str, Any]:
            """The record's fields by name."""
            return msgspec.structs.asdict(self)


def is_primitive(record: type) -> bool:
    """Whether a record class was declared with `primitive=True`."""
    return any(_PRIMITIVE.get(each, False) for each in record.__mro__)


def fields(record: type) -> list[str]:
    """The names of a record class's fields."""
    return [name for name in typing.get_type_hints(record, include_extras=False) if not name.startswith("_")]
