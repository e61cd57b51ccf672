"""From a record to the entry that holds it and back, strict in both directions, without Redis.

codec         one stream's: record -> checked bytes, key, partition; bytes -> value
quick         the same for most records that are sent, in one go
keys          the routing key, its partition, headers
forms, flat   how a record becomes bytes (json, msgpack, a user's own), or an entry's fields
compression   smaller bytes, and back within bounds
classes       what records are decoded into: Structs, dataclasses, pydantic models
imported      what is the user's own
"""

from runnelctl.core.encoded import Encoded
from runnelctl.records.codec import Codec, codec_for
from runnelctl.records.keys import header_fields
from runnelctl.records.limits import MAX_DEPTH, MAX_HEADERS, MAX_RECORD_BYTES

__all__ = ["MAX_DEPTH", "MAX_HEADERS", "MAX_RECORD_BYTES", "Codec", "Encoded", "codec_for", "header_fields"]
