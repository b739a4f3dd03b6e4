"""The API as a user reaches it: real HTTP over one kept connection, by the standard library's client, the cheapest there is."""

import http.client
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from bench.definitions import Document, ref
from bench.errors import ApiError, RunsWrong

BATCH = 1_000
RUNS = "/api/v1/workflows"


class Client:
    """One connection. Not thread-safe."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def close(self) -> None:
        """Give the connection up."""
        self._connection.close()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer. Raises ApiError, or OSError when nobody answers."""
        data = b"" if body is None else msgspec.json.encode(body)
        self._connection.request(method, path, data, {"content-type": "application/json"} if data else {})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise ApiError(f"{method} {path}: {answer.status} {content[:2_000].decode(errors='replace')}")
        return msgspec.json.decode(content)

    def register(self, document: Document) -> str:
        """Register a definition; its name@version."""
        self.call("POST", "/api/v1/definitions", document)
        return ref(document)

    def start(self, definition: str) -> str:
        """Start one run; its id."""
        return str(self.call("POST", RUNS, {"definition": definition})["id"])

    def start_many(self, definition: str, count: int) -> list[str]:
        """Start runs, one request for each thousand; their ids."""
        runs: list[str] = []
        while len(runs) < count:
            batch = min(BATCH, count - len(runs))
            answer = self.call("POST", f"{RUNS}:batch", {"definition": definition, "runs": [{}] * batch})
            runs += [item["id"] for item in answer["items"]]
        return runs

    def wait(self, run: str, timeout_s: float = 60.0) -> Any:
        """The whole picture of a run once it has ended. Raises RunsWrong if it has not within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            picture = self.call("GET", f"{RUNS}/{run}?wait={min(max(left_s, 0.0), 30.0):.3f}")
            if picture["run"]["state"] not in ("pending", "active"):
                return picture
            if left_s <= 0:
                waits_for = picture.get("waits_for") or "its tasks"
                raise RunsWrong(f"run {run} has not ended within {timeout_s:.0f} s; it waits for {waits_for}")

    def wait_all(self, last: str, timeout_s: float = 300.0) -> None:
        """Returns when no run is left. `last` was started last, so asking for it first spares asking for most others."""
        deadline = time.monotonic() + timeout_s
        while last:
            self.wait(last, deadline - time.monotonic())
            left = self.living(1)
            last = left[0]["id"] if left else ""

    def living(self, limit: int) -> list[Any]:
        """Runs that have not ended."""
        active = self.call("GET", f"{RUNS}?state=active&limit={limit}")["items"]
        return list(active or self.call("GET", f"{RUNS}?state=pending&limit={limit}")["items"])

    def check_completed(self, runs: Iterable[str], tasks: int) -> None:
        """Raises RunsWrong unless each of these runs is completed, and each of its tasks."""
        wanted, cursor = set(runs), ""
        while wanted:
            page = self.call("GET", f"{RUNS}?state=completed&limit={BATCH}&cursor={cursor}")
            wanted -= {run["id"] for run in page["items"] if run["completed"] == run["tasks"] == tasks}
            cursor = page["next"]
            if not cursor:
                break
        if wanted:
            raise RunsWrong(f"{len(wanted)} runs are not completed with {tasks} tasks, for example {min(wanted)}")
