"""Record classes: msgspec Structs, dataclasses and pydantic models that a stream's records are decoded into.

msgspec decodes straight into Structs and dataclasses, faster than into a dict. pydantic reads JSON itself.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from runnelctl import handling
from runnelctl.errors import HandlerError, RecordError
from runnelctl.records import wording

_SHOWN_ERRORS = 3

encode_json = msgspec.json.encode


class RecordClass:
    """One record class, compiled. Every decoder raises RecordError, naming the path, for what does not fit."""

    def __init__(self, spec: str, target: Any) -> None:
        self.spec = spec
        self.target = target
        self._adapter = _adapter(target)
        #: As `from_json`, with the errors of msgspec or pydantic.
        self.decode_json: Any = self._adapter.validate_json if self._adapter else msgspec.json.Decoder(target).decode
        self._msgpack: Any = None if self._adapter else msgspec.msgpack.Decoder(target).decode

    def from_json(self, data: bytes) -> Any:
        """The instance that a JSON text stands for."""
        return self._made(self.decode_json, data)

    def from_msgpack(self, data: bytes) -> Any:
        """The instance that a msgpack value stands for."""
        if self._adapter is not None:
            return self.from_plain(msgspec.msgpack.decode(data))
        return self._made(self._msgpack, data)

    def from_plain(self, value: Any) -> Any:
        """The instance for a decoded value; bytes may stand in it as they are."""
        adapter, target = self._adapter, self.target
        try:
            if adapter is None:
                return self._made(lambda: msgspec.convert(value, target, builtin_types=(bytes, bytearray)))
            return self._made(adapter.validate_python, value)
        except RecordError:
            try:  # bytes may be base64 as JSON has them; a strict model takes dates from JSON's text only
                return msgspec.convert(value, target) if adapter is None else adapter.validate_json(encode_json(value))
            except Exception:
                pass
            raise

    def _made(self, make: Callable[..., Any], *given: Any) -> Any:
        try:
            return make(*given)
        except msgspec.ValidationError as error:
            raise RecordError(wording.misfit(error)) from error
        except Exception as error:
            if self._adapter is not None and hasattr(error, "errors"):
                raise RecordError(_pydantic_misfit(error.errors(include_url=False))) from error
            name = self.spec.partition(":")[2]
            raise RecordError(f"{name} refuses it: {type(error).__name__}: {wording.short(str(error))}") from error

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of a record as it is stored. Raises HandlerError if the class can't be one."""
        try:
            if self._adapter is not None:
                found: dict[str, Any] = self._adapter.json_schema(by_alias=True)
            else:
                found = msgspec.json.schema(self.target)
        except Exception as error:
            first = next(line for line in reversed(str(error).splitlines()) if line.strip())
            raise HandlerError(f"record {self.spec} has no JSON Schema: {wording.short(first)}") from error
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_plain_top(found)}


@functools.cache
def load(spec: str, pythonpath: tuple[str, ...]) -> RecordClass:
    """The record class that `module:Class` names. Raises HandlerError if it can't be imported or is none."""
    handling.put_on_path(pythonpath)
    try:
        target = handling.resolve(spec)
    except HandlerError as error:
        raise HandlerError(f"record {spec}: {error}") from error.__cause__
    if not _is_record_class(target):
        raise HandlerError(
            f"record {spec} is {_kind(target)}: it must be a msgspec.Struct, a dataclass or a pydantic model"
        )
    try:
        return RecordClass(spec, target)
    except Exception as error:  # a field of a kind that neither library knows
        raise HandlerError(f"record {spec} cannot be decoded into: {wording.short(str(error))}") from error


def _is_record_class(target: Any) -> bool:
    if not inspect.isclass(target):
        return False
    return issubclass(target, msgspec.Struct) or dataclasses.is_dataclass(target) or _is_pydantic(target)


def _is_pydantic(target: Any) -> bool:
    return hasattr(target, "__pydantic_core_schema__") and hasattr(target, "__pydantic_validator__")


def _kind(target: Any) -> str:
    if inspect.isclass(target):
        return "a plain class"
    return "a function" if inspect.isroutine(target) else f"of type {type(target).__name__}"


def _adapter(target: Any) -> Any:
    """pydantic's own way to read a class of its own; None for the others."""
    if not _is_pydantic(target):
        return None
    from pydantic import TypeAdapter

    return TypeAdapter(target)


def _pydantic_misfit(errors: list[dict[str, Any]]) -> str:
    shown = [f"{wording.dotted(each['loc'])}: {each['msg']}" if each["loc"] else each["msg"] for each in errors]
    more = len(shown) - _SHOWN_ERRORS
    return "; ".join(map(wording.short, shown[:_SHOWN_ERRORS])) + (f"; and {more} more" if more > 0 else "")


def _plain_top(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its properties at the top, where people look for them, instead of a reference there."""
    reference = schema.get("$ref", "")
    definitions = schema.get("$defs", {})
    name = reference.rpartition("/")[2]
    if not reference.startswith("#/$defs/") or name not in definitions:
        return dict(schema)
    others = {key: value for key, value in definitions.items() if key != name}
    top = dict(definitions[name])
    if others or _refers_to(top, reference):
        top["$defs"] = definitions if _refers_to([top, others], reference) else others
    return top


def _refers_to(part: Any, reference: str) -> bool:
    if isinstance(part, dict):
        return part.get("$ref") == reference or any(_refers_to(each, reference) for each in part.values())
    return isinstance(part, list) and any(_refers_to(each, reference) for each in part)


def unencodable(value: Any) -> Any:
    """For msgspec's encoders: what to encode in place of an object that they don't know, a pydantic model."""
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


def unencodable_binary(value: Any) -> Any:
    """The same for codecs that carry bytes and dates as they are."""
    if _is_pydantic(type(value)):
        return value.model_dump(mode="python", by_alias=True)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


def plain(value: Any) -> Any:
    """An instance as JSON has it: dicts, lists, texts, numbers. Names are those of the wire."""
    return msgspec.to_builtins(value, enc_hook=_plain_of)


def _plain_of(value: Any) -> Any:
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    about = getattr(value, "__dict__", None)  # what a codec of the user's own makes
    return dict(about) if about else str(value)
