"""What agents of these tests can do beside the example's work: leave a trace for every execution, take long, answer much."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from tiercel import TaskContext


def capabilities(settings: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    """By name. All write into the directory `ledger` of their site."""
    site = Traces(Path(settings["ledger"]))
    return {
        "note.append": site.append,
        "gate.pass": site.wait_for_gate,
        "secret.use": site.use,
        "bulk.make": make,
        "bulk.weigh": weigh,
    }


class Traces:
    """One site's traces."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory

    def append(self, task: TaskContext) -> dict[str, Any]:
        """Append a line, check nothing, and only then take 100 to 400 ms: a kill meanwhile finds the effect done and not told."""
        self._write("notes.log", f"{task.idempotency_key} {task.attempt} {task.agent}\n")
        task.wait_cancelled((100 + crc32(task.idempotency_key.encode()) % 300) / 1000)
        return {"attempt": task.attempt}

    def wait_for_gate(self, task: TaskContext, gate: str) -> str:
        """Take until the file `gate` is there."""
        self._write("waiting.log", f"{task.idempotency_key} {task.attempt} {task.agent}\n")
        while not (self.directory / gate).exists():
            task.raise_if_cancelled()
            time.sleep(0.02)
        return gate

    def use(self, task: TaskContext, token: str) -> dict[str, Any]:
        """Write down what the capability saw of a secret, where only this test looks, and be careless with it in the answer."""
        self._write("seen.log", f"{task.idempotency_key} {token}\n")
        task.progress(0.5, f"signed in with {token}")
        return {"length": len(token), "echo": f"token was {token}"}

    def _write(self, name: str, line: str) -> None:
        file = os.open(self.directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line.encode())
            os.fsync(file)
        finally:
            os.close(file)


def make(size: int) -> dict[str, Any]:
    """An answer of about that many bytes that does not compress into its description."""
    words = (f"{crc32(b'%d' % number):08x}" for number in range(size // 8 + 1))
    return {"text": "".join(words)[:size]}


def weigh(made: dict[str, Any]) -> dict[str, Any]:
    """Whether what arrived is what was made."""
    size = len(made["text"])
    return {"size": size, "whole": made == make(size)}
