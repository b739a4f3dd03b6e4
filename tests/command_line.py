"""`tiercel` in a process of its own, against a running system."""

import asyncio
import os
import subprocess
import sys

from tests.whole import PATIENCE_S, Whole

COMMAND = [sys.executable, "-c", "from tiercel.cli.main import main; main()"]


async def command(system: Whole, *args: str, code: int = 0, noted: bool = False) -> str:
    """What the command line prints; of one that is to fail, or `noted`, what it says beside that, too."""
    environment = {**os.environ, "TIERCEL_SERVER": str(system.client.base_url), "COLUMNS": "200"}
    done = await asyncio.to_thread(
        subprocess.run, [*COMMAND, *args], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 and not noted else done.stdout + done.stderr
