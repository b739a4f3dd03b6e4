"""A module of capabilities such as a host's configuration names."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tiercel import TaskContext


def capabilities(settings: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    log = Path(settings["log"])

    def note(task: TaskContext, word: str = "") -> dict[str, Any]:
        """Leave one line per execution."""
        with log.open("a") as file:
            file.write(f"{task.idempotency_key} {word}\n")
        return {"agent": task.agent, "thread": threading.current_thread().name, "pid": os.getpid()}

    def linger(task: TaskContext, seconds: float) -> dict[str, Any]:
        """Wait, and leave a line before and after."""
        note(task, "started")
        task.wait_cancelled(seconds)
        return note(task, "cancelled" if task.cancelled else "lingered")

    return {"test.note": note, "test.linger": linger}


def double(number: int) -> int:
    return 2 * number


def now() -> float:
    return time.time()
