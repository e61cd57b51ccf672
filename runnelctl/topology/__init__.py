"""From a topology file to a `Topology`. Nothing after it sees a dict.

    reading  →  interpolation  →  shape  →  loading (overrides, includes)  →  building  →  core.model.Topology
    bytes,      ${VAR}            JSON      one tree                          defaults,
    YAML                          Schema                                      meaning

What is wrong comes out all at once, as a TopologyError whose problems know file, line and column.
"""

from runnelctl.topology.describing import describe, differences, digest
from runnelctl.topology.finding import find
from runnelctl.topology.loading import OVERRIDES, Examined, examine, load, load_with_warnings
from runnelctl.topology.redis_url import redacted
from runnelctl.topology.resolved import document, text
from runnelctl.topology.shape import text_of_schema
from runnelctl.topology.streams import ImportPlace

__all__ = [
    "OVERRIDES",
    "Examined",
    "ImportPlace",
    "describe",
    "differences",
    "digest",
    "document",
    "examine",
    "find",
    "load",
    "load_with_warnings",
    "redacted",
    "text",
    "text_of_schema",
]
