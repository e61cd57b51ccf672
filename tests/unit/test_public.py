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


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'redis', 'hiredis', 'msgspec', 'jsonschema_rs', 'jsonschema', 'yaml', 'rich', 'asyncio', 'uvloop'}"
    code = f"""
import sys
from runnelctl.cli import main
try:
    main.main(["--help"])
finally:
    print(*({heavy} & set(sys.modules)), file=sys.stderr)
"""
    environ = os.environ | {"PYTHONPATH": str(Path(runnelctl.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    assert done.stderr == "\n"


def test_hosts_and_status_do_without_redis_py() -> None:
    """To import it takes longer than all else that these do before they are of use."""
    code = """
import sys
from runnelctl.cli import main, status, table, up
from runnelctl.runtime import keeper, launch, slice
print(*({'redis', 'psutil', 'jsonschema'} & set(sys.modules)))
"""
    environ = os.environ | {"PYTHONPATH": str(Path(runnelctl.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_child_processes_run_the_code_under_test(tmp_path: Path) -> None:
    """Tests start `python -m runnelctl` in other directories; it must be this checkout that is installed."""
    done = subprocess.run(
        [sys.executable, "-c", "import runnelctl; print(runnelctl.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == runnelctl.__file__, "install this checkout first: pip install -e '.[test]'"
