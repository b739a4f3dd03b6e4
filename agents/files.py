"""`file.read` and `file.write`: files of the site, inside one allowed root and nowhere else (see `agents.root`)."""

import base64
import binascii
import os
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from agents import durable
from agents.ledger import file_name
from agents.root import Root, refuse_symlink, reported
from tiercel import TaskContext
from tiercel.errors import TerminalError

Encoding = Literal["utf-8", "base64"]


class Files:
    """The capabilities over one root.

    Failures are terminal, with the codes `path_refused`, `file_not_found`, `file_too_large`, `not_a_file` and
    `validation`; what may pass (a full disk, an I/O error) is retryable, with the code `file_io`.
    """

    def __init__(self, root: Path, *, read_bytes_max: int = 16 * 1024 * 1024) -> None:
        """`root` must exist."""
        self._root = Root(root)
        self._read_bytes_max = read_bytes_max

    def capabilities(self) -> dict[str, Callable[..., Any]]:
        """By name, as an agent offers them."""
        return {"file.read": self.read, "file.write": self.write}

    def read(self, path: str, encoding: Encoding = "utf-8") -> dict[str, Any]:
        """The content of one file: {path, content, bytes, sha256}."""
        with reported(path), self._root.folder_of(path) as (folder, name):
            # Non-blocking, or opening a named pipe would wait for its writer for ever.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(file, "rb") as opened:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise TerminalError(f"{path} is not a regular file", code="not_a_file")
                data = opened.read(self._read_bytes_max + 1)
        if len(data) > self._read_bytes_max:
            raise TerminalError(f"{path} has more than {self._read_bytes_max} bytes", code="file_too_large")
        return {"path": path, "content": as_text(path, data, encoding), **measures(data)}

    def write(
        self, task: TaskContext, path: str, content: str, encoding: Encoding = "utf-8", keyed: bool = False
    ) -> dict[str, Any]:
        """Write one file whole: {path, bytes, sha256, written}. Missing folders are made.

        By default `path` names the file, and another content is replaced. With `keyed`, `path` names a folder, and
        the file in it is named after the task's idempotency key: the first write of a key stands, `written` is false
        for any later one, and the answer describes the file that stands. A reader sees the old content or the new,
        never a part.
        """
        data = as_bytes(path, content, encoding)
        if keyed:
            path = f"{path}/{file_name(task.idempotency_key)}"
        with reported(path), self._root.folder_of(path, make=True) as (folder, name):
            if not keyed:
                refuse_symlink(folder, name, path)
                durable.replace(folder, name, data)
            elif not durable.create(folder, name, data):
                standing = self.read(path, "base64")
                return {"path": path, "bytes": standing["bytes"], "sha256": standing["sha256"], "written": False}
        return {"path": path, **measures(data), "written": True}


def as_text(path: str, data: bytes, encoding: str) -> str:
    match encoding:
        case "base64":
            return base64.b64encode(data).decode()
        case "utf-8":
            try:
                return data.decode()
            except UnicodeDecodeError as error:
                raise TerminalError(f"{path} is not UTF-8; read it with encoding base64", code="validation") from error
        case _:
            raise _unknown_encoding(encoding)


def as_bytes(path: str, content: str, encoding: str) -> bytes:
    if not isinstance(content, str):
        raise TerminalError(f"content for {path} must be a string; render it first (json.render)", code="validation")
    match encoding:
        case "base64":
            try:
                return base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError) as error:
                raise TerminalError(f"content for {path} is not base64: {error}", code="validation") from error
        case "utf-8":
            return content.encode()
        case _:
            raise _unknown_encoding(encoding)


def _unknown_encoding(encoding: str) -> TerminalError:
    return TerminalError(f"unknown encoding {encoding!r}; allowed: utf-8, base64", code="validation")


def measures(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": sha256(data).hexdigest()}
