"""What has happened, one file per idempotency key: the way to make an effect happen once although its task may run
twice.

A capability that was interrupted after its effect and before its result is run again under the same key, `run/task`.
It asks the ledger first, and records its effect there last, in one step. The first record of a key stands; every
later attempt gets it back:

    ledger = Ledger(directory)
    return ledger.entry(task.idempotency_key) or ledger.record(task.idempotency_key, {"label": print_label(order)})

This is exact where the record *is* the effect, as for a booking. Where the effect is elsewhere (a printed label), the
time between the effect and its record remains; the other side has to know the key as well.
"""

import os
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import msgspec

from agents import durable

_NAME_BYTES_MAX = 200
"""File systems end names at 255 bytes; longer keys are hashed."""


class Ledger:
    """One directory of entries. Safe among threads and processes: the file system decides who was first."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory if it is missing."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory

    def entry(self, key: str) -> dict[str, Any] | None:
        """What was recorded under the key; None if nothing was."""
        try:
            data = (self.directory / file_name(key)).read_bytes()
        except FileNotFoundError:
            return None
        return cast("dict[str, Any]", msgspec.json.decode(data)["entry"])

    def record(self, key: str, entry: dict[str, Any]) -> dict[str, Any]:
        """Record `entry` (JSON) under the key, durably, unless there is one already; the one that stands."""
        data = msgspec.json.encode({"key": key, "entry": entry})
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            created = durable.create(directory, file_name(key), data)
        finally:
            os.close(directory)
        if created:
            return entry
        standing = self.entry(key)
        assert standing is not None, f"the entry of {key} was there and is gone: nobody may remove entries"
        return standing

    def entries(self) -> dict[str, dict[str, Any]]:
        """Everything recorded so far, by key, in the order of the keys."""
        paths = (path for path in self.directory.iterdir() if not path.name.startswith(durable.TEMPORARY_PREFIX))
        found = [msgspec.json.decode(path.read_bytes()) for path in paths]
        return {item["key"]: item["entry"] for item in sorted(found, key=lambda item: str(item["key"]))}


def file_name(key: str) -> str:
    """A file name for any idempotency key, one to one: letters and digits stay readable."""
    name = quote(key, safe="")
    if name.startswith("."):
        name = "%2E" + name[1:]
    return f"{name}.json" if len(name) <= _NAME_BYTES_MAX else f"{sha256(key.encode()).hexdigest()}.json"
