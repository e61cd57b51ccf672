"""What `import runnelctl` gives, and what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import runnelctl
from runnelctl import errors


def test_public_names_are_there() -> None:
    for name in runnelctl.__all__:
        assert getattr(runnelctl, name) is not None
    assert set(runnelctl.__all__) <= set(dir(runnelctl))
    assert runnelctl.RecordError is errors.RecordError
    with pytest.raises(AttributeError, match="nosuch"):
        _ = runnelctl.nosuch


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'redis', 'hiredis', 'msgspec', 'jsonschema_rs', 'yaml', 'rich', 'asyncio'}"
    code = f"import runnelctl, sys; print(*({heavy} & set(sys.modules)))"
    environ = os.environ | {"PYTHONPATH": str(Path(runnelctl.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
