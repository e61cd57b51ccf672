"""A callback that fails: one of ours ends the process, one of a handler's costs nothing but a line."""

import subprocess
import sys

import pytest

_PROGRAM = """
import asyncio, functools, logging, sys
from runnelctl.runtime import defects

given = {"__name__": sys.argv[1]}
exec("def fails(): raise ValueError('out of a callback')", given)

async def main():
    asyncio.get_running_loop().call_soon(given["fails"])
    await asyncio.sleep(0.05)
    print("alive")

logging.basicConfig()
with asyncio.Runner(loop_factory=functools.partial(defects.watched, logging.getLogger("x"))) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize(("module", "code", "said"), [("runnelctl.runtime.x", 70, ""), ("shop.handlers", 0, "alive\n")])
def test_a_callback_that_fails(module: str, code: int, said: str) -> None:
    command = [sys.executable, "-c", _PROGRAM, module]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (code, said)
    assert "out of a callback" in ended.stderr
    assert ("this is a defect" in ended.stderr) == (code == 70)
