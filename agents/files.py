"""`file.read` and `file.write`: files of the site, inside one allowed root and nowhere else.

A path is walked one name at a time from the root's own descriptor, and no symlink is followed, so neither `..` nor a
link nor one that is exchanged meanwhile leads out. What the host's operating system user may not touch stays out of
reach as well.
"""

import base64
import binascii
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from agents import durable
from agents.ledger import file_name
from tiercel import TaskContext
from tiercel.errors import RetryableError, TerminalError

Encoding = Literal["utf-8", "base64"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Files:
    """The capabilities over one root.

    Failures are terminal, with the codes `path_refused`, `file_not_found`, `file_too_large`, `not_a_file` and
    `validation`; what may pass (a full disk, an I/O error) is retryable, with the code `file_io`.
    """

    def __init__(self, root: Path, *, read_bytes_max: int = 16 * 1024 * 1024) -> None:
        """`root` must exist; it alone may be reached through a symlink, since the host's configuration names it."""
        self._root = root.resolve(strict=True)
        self._read_bytes_max = read_bytes_max

    def capabilities(self) -> dict[str, Callable[..., Any]]:
        """By name, as an agent offers them."""
        return {"file.read": self.read, "file.write": self.write}

    def read(self, path: str, encoding: Encoding = "utf-8") -> dict[str, Any]:
        """The content of one file: {path, content, bytes, sha256}."""
        with _reported(path), self._folder_of(path) as (folder, name):
            # Non-blocking, or opening a named pipe would wait for its writer for ever.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(file, "rb") as opened:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise TerminalError(f"{path} is not a regular file", code="not_a_file")
                data = opened.read(self._read_bytes_max + 1)
        if len(data) > self._read_bytes_max:
            raise TerminalError(f"{path} has more than {self._read_bytes_max} bytes", code="file_too_large")
        return {"path": path, "content": _as_text(path, data, encoding), **_measures(data)}

    def write(
        self, task: TaskContext, path: str, content: str, encoding: Encoding = "utf-8", keyed: bool = False
    ) -> dict[str, Any]:
        """Write one file whole: {path, bytes, sha256, written}. Missing folders are made.

        By default `path` names the file, and another content is replaced. With `keyed`, `path` names a folder, and
        the file in it is named after the task's idempotency key: the first write of a key stands, `written` is false
        for any later one, and the answer describes the file that stands. A reader sees the old content or the new,
        never a part.
        """
        data = _as_bytes(path, content, encoding)
        if keyed:
            path = f"{path}/{file_name(task.idempotency_key)}"
        with _reported(path), self._folder_of(path, make=True) as (folder, name):
            if not keyed:
                _refuse_symlink(folder, name, path)
                durable.replace(folder, name, data)
            elif not durable.create(folder, name, data):
                standing = self.read(path, "base64")
                return {"path": path, "bytes": standing["bytes"], "sha256": standing["sha256"], "written": False}
        return {"path": path, **_measures(data), "written": True}

    @contextmanager
    def _folder_of(self, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """(descriptor of the folder that holds it, its last name)."""
        *folders, name = _names(path)
        folder = os.open(self._root, _FOLDER)
        try:
            for step in folders:
                inner = _enter(folder, step, make)
                os.close(folder)
                folder = inner
            yield folder, name
        finally:
            os.close(folder)


def _names(path: str) -> list[str]:
    """The names along a relative path; TerminalError if it could lead anywhere but down."""
    names = path.split("/")
    if "\0" in path or any(name in ("", ".", "..") for name in names):
        raise TerminalError(
            f"the path {path!r} is refused: it must be relative to the allowed root, without empty names, . or ..",
            code="path_refused",
        )
    if any(name.startswith(durable.TEMPORARY_PREFIX) for name in names):
        raise TerminalError(f"the path {path!r} is refused: {durable.TEMPORARY_PREFIX}* is reserved", code="path_refused")
    return names


def _enter(folder: int, name: str, make: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(name, 0o700, dir_fd=folder)
        os.fsync(folder)
    except FileExistsError:
        pass  # Somebody else made it a moment ago.
    return os.open(name, _FOLDER, dir_fd=folder)


def _refuse_symlink(folder: int, name: str, path: str) -> None:
    """A rename replaces a symlink and never follows it; still, what a person put there by hand is not ours to
    remove."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise TerminalError(f"the path {path!r} is refused: it is a symlink", code="path_refused")


@contextmanager
def _reported(path: str) -> Iterator[None]:
    """Errors of the operating system as outcomes of a task."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                raise TerminalError(f"{path} does not exist under the allowed root", code="file_not_found") from error
            case errno.ELOOP | errno.ENOTDIR:  # Linux says ENOTDIR of a symlink that was to be opened as a folder.
                message = f"the path {path!r} is refused: a symlink or a file stands where a folder is needed"
                raise TerminalError(message, code="path_refused") from error
            case errno.EISDIR | errno.ENXIO:
                raise TerminalError(f"{path} is not a regular file", code="not_a_file") from error
            case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENAMETOOLONG:
                raise TerminalError(f"the path {path!r} is refused: {error.strerror}", code="path_refused") from error
            case _:
                raise RetryableError(f"{path}: {error.strerror}", code="file_io") from error


def _as_text(path: str, data: bytes, encoding: str) -> str:
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


def _as_bytes(path: str, content: str, encoding: str) -> bytes:
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


def _measures(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": sha256(data).hexdigest()}
