"""The supervisor of the tests: a node in a process of its own, started again at once when it was killed, as Ray would."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from cloud.driver import CloudConfig
from tests.e2e.node import Service
from tests.e2e.nursery import Process, nurseries

STARTED_S_MAX = 60.0
STOPPED_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill -9: of which node, and between which two readings of the wall clock (UTC ms) it died."""

    node: str
    before_ms: int
    after_ms: int
    was: str

    @property
    def kind(self) -> str:
        """cloud, edge or agents."""
        return self.node if self.node == "cloud" else "agents" if self.node.endswith(" agents") else "edge"

    @property
    def site(self) -> str:
        """Where; empty for the cloud."""
        return "" if self.node == "cloud" else self.node.partition(" ")[0]


class Child:
    """One node. `kill`, `halt` and `stop` end it; only after `kill` does it come back by itself."""

    def __init__(self, name: str, service: Service) -> None:
        self.name, self.service = name, service
        self.deaths: list[str] = []  # What nobody ordered.
        self._nursery = nurseries()[not isinstance(service.config, CloudConfig)]
        self._process: Process | None = None
        self._wanted = False
        self._serving = threading.Event()
        self._over = threading.Event()
        self._over.set()
        self._guard = threading.Lock()
        self._said = 0

    @property
    def pid(self) -> int:
        """Its process; 0 while it has none."""
        process = self._process
        return process.pid if process is not None and process.status is None else 0

    def start(self) -> "Child":
        """Begin to start it."""
        assert self._over.is_set(), f"{self.name} runs already"
        self._wanted = True
        self._over.clear()
        self._said = self._errors.stat().st_size if self._errors.exists() else 0
        threading.Thread(target=self._supervise, name=f"supervise {self.name}", daemon=True).start()
        return self

    def await_serving(self) -> "Child":
        """Returns once it serves."""
        deadline = time.monotonic() + STARTED_S_MAX
        while not self._serving.wait(0.02):
            assert not self._over.is_set(), f"{self.name} does not start: {self.last_words()}"
            assert time.monotonic() < deadline, f"{self.name} does not serve after {STARTED_S_MAX:.0f} s: {self.last_words()}"
        return self

    def kill(self) -> Kill:
        """kill -9. Returns once it is dead; by then the next process may have begun."""
        deadline = time.monotonic() + STARTED_S_MAX
        while not self.pid:  # The last one has just died.
            assert time.monotonic() < deadline, f"{self.name} has no process to kill: {self.deaths}"
            time.sleep(0.001)
        with self._guard:
            process = self._process
            assert process is not None
            was = "serving" if self._serving.is_set() else "starting"
            before_ms = time.time_ns() // 1_000_000
            process.signal(signal.SIGKILL)
            assert process.wait(STOPPED_S_MAX), f"{self.name} survives kill -9"
        return Kill(self.name, before_ms, time.time_ns() // 1_000_000, was)

    def halt(self) -> None:
        """kill -9, and it stays dead."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        try:
            self._end(signal.SIGTERM)
        except AssertionError:
            self.halt()
            raise

    def await_refusal(self) -> str:
        """What it said when it did not start. Fails if it serves."""
        assert self._over.wait(STARTED_S_MAX), f"{self.name} neither refuses to start nor ends"
        assert self.deaths, f"{self.name} did not refuse to start"
        return self.deaths.pop()

    def last_words(self) -> str:
        """The end of what it has written to stderr since it was started."""
        return self._errors.read_bytes()[self._said :][-2_000:].decode(errors="replace").strip() if self._errors.exists() else ""

    @property
    def _errors(self) -> Path:
        return self.service.log_file.with_suffix(".err")

    def _end(self, number: int) -> None:
        with self._guard:
            self._wanted = False
            if self._process is not None:
                self._process.signal(number)
        assert self._over.wait(STOPPED_S_MAX), f"{self.name} does not stop"

    def _supervise(self) -> None:
        try:
            while (process := self._spawn()) is not None:
                status = process.await_status()
                with self._guard:
                    self._serving.clear()
                if status != -signal.SIGKILL and self._wanted:
                    self.deaths.append(f"{self.name} ended with status {status}: {self.last_words()}")
                    return
        finally:
            self._over.set()

    def _spawn(self) -> Process | None:
        with self._guard, self._errors.open("ab") as errors:
            if not self._wanted:
                return None
            process = self._process = self._nursery.fork(self.service, errors.fileno())
        threading.Thread(target=self._hear, args=(process,), daemon=True).start()
        return process

    def _hear(self, process: Process) -> None:
        """Note when it serves."""
        with os.fdopen(process.stdout, "rb") as said:
            if said.readline() == b"serving\n":
                with self._guard:
                    if process is self._process and process.status is None:
                        self._serving.set()
