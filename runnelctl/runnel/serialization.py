"""Runnel's two serializers, which write the same JSON; here that is `codec: json`, and needs no class."""

from __future__ import annotations

from typing import Any

import msgspec

from runnelctl.runnel.interfaces import Serializer


class JSONSerializer(Serializer):
    """`codec: json`."""

    def dumps(self, value: Any) -> bytes:
        """`value` as JSON."""
        return msgspec.json.encode(value)

    def loads(self, value: bytes) -> Any:
        """What JSON says."""
        return msgspec.json.decode(value)


class FastJSONSerializer(JSONSerializer):
    """`codec: json`."""


default = JSONSerializer()
