"""What `from runnel import …` gives where Runnel is not installed (see `runnelctl/standin.py`).

The names are those of Runnel's guide. `App` and its decorators only write down what they are told: a topology file,
made from that by `runnelctl init --from-runnel`, says what runs, and `runnelctl up` runs the decorated functions as
they are. Modelled on the public interface of Runnel 0.1.0b1 (mjwestcott/runnel); no code of it is here.
"""

from __future__ import annotations

from runnelctl.event import Event
from runnelctl.runnel.apps import App, Stream
from runnelctl.runnel.compression import LZ4, Gzip
from runnelctl.runnel.constants import ExceptionPolicy
from runnelctl.runnel.interfaces import Compressor, Middleware, Serializer
from runnelctl.runnel.record import Record
from runnelctl.runnel.serialization import FastJSONSerializer, JSONSerializer

__all__ = [
    "LZ4",
    "App",
    "Compressor",
    "Event",
    "ExceptionPolicy",
    "FastJSONSerializer",
    "Gzip",
    "JSONSerializer",
    "Middleware",
    "Record",
    "Serializer",
    "Stream",
]
