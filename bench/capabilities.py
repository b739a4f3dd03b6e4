"""The work of the measured agents: as little as there can be, so that the figures are those of the engine.

All are `async def`, the kind that an agent runs without a thread; each agent process has one `Work` directory.
"""

import asyncio
import os
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tiercel import TaskContext

STAMP = struct.Struct("<q")
MARKS, LINES = "marks", "lines"
PAUSE_S = 0.05


def capabilities(settings: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    """`bench.noop`, `bench.mark` (when was it called?), `bench.pause` (50 ms), `bench.append` (one line: the run's id)."""
    directory = Path(settings["directory"])
    marks, lines = _append_to(directory / MARKS), _append_to(directory / LINES)

    async def mark() -> dict[str, object]:
        # CLOCK_MONOTONIC is the same clock in all processes.
        os.write(marks, STAMP.pack(time.monotonic_ns()))
        return {}

    async def append(task: TaskContext) -> dict[str, object]:
        os.write(lines, f"{task.run}\n".encode())
        return {}

    return {"bench.noop": noop, "bench.mark": mark, "bench.pause": pause, "bench.append": append}


async def noop() -> dict[str, object]:
    """Nothing at all."""
    return {}


async def pause() -> dict[str, object]:
    """50 ms of other people's work."""
    await asyncio.sleep(PAUSE_S)
    return {}


def read_marks(directory: Path) -> list[int]:
    """When `bench.mark` was called, in ns of the monotonic clock, in order."""
    return [stamp for (stamp,) in STAMP.iter_unpack((directory / MARKS).read_bytes())]


def read_lines(directory: Path) -> list[str]:
    """The runs for which `bench.append` was called, in order, one entry for each call."""
    return (directory / LINES).read_text().splitlines()


def _append_to(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
