"""The one folder of the site that workflows may reach, and the way into it.

A path is walked one name at a time from the root's own descriptor, and no symlink is followed, so neither `..` nor a
link nor one that is exchanged meanwhile leads out. What the host's operating system user may not touch stays out of
reach as well.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents import durable
from tiercel.errors import RetryableError, TerminalError

OWN_FOLDER = ".tiercel"
"""At the top of the root: what has been done there, by idempotency key. No path leads into it."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Root:
    """The allowed root."""

    def __init__(self, path: Path) -> None:
        """`path` must exist; it alone may be reached through a symlink, since the host's configuration names it."""
        self.path = path.resolve(strict=True)

    @contextmanager
    def folder_of(self, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """(descriptor of the folder that holds it, its last name). Raises TerminalError or OSError."""
        *folders, name = _names(path)
        with self._walk(folders, make) as folder:
            yield folder, name

    @contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """The descriptor of a folder; the empty path is the root itself."""
        with self._walk(_names(path) if path else [], make=False) as folder:
            yield folder

    @contextmanager
    def _walk(self, folders: list[str], make: bool) -> Iterator[int]:
        folder = os.open(self.path, _FOLDER)
        try:
            for step in folders:
                inner = _enter(folder, step, make)
                os.close(folder)
                folder = inner
            yield folder
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
    if any(name.startswith(durable.TEMPORARY_PREFIX) for name in names) or names[0] == OWN_FOLDER:
        reserved = f"names that begin with {durable.TEMPORARY_PREFIX}, and {OWN_FOLDER}, are reserved"
        raise TerminalError(f"the path {path!r} is refused: {reserved}", code="path_refused")
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


def refuse_symlink(folder: int, name: str, path: str) -> None:
    """A rename replaces a symlink and never follows it; still, what a person put there by hand is not ours to
    remove."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise TerminalError(f"the path {path!r} is refused: it is a symlink", code="path_refused")


@contextmanager
def reported(path: str) -> Iterator[None]:
    """Errors of the operating system as outcomes of a task."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                raise TerminalError(f"{path} does not exist under the allowed root", code="file_not_found") from error
            case errno.ELOOP:
                raise TerminalError(f"the path {path!r} is refused: it is a symlink", code="path_refused") from error
            case errno.ENOTDIR:  # Linux says ENOTDIR of a symlink that was to be opened as a folder.
                message = f"the path {path!r} is refused: a symlink or a file stands where a folder is needed"
                raise TerminalError(message, code="path_refused") from error
            case errno.ENOTEMPTY:
                raise TerminalError(f"the folder {path} is not empty", code="not_a_file") from error
            case errno.EXDEV:
                message = f"{path} is on another file system: copy it, then delete it"
                raise TerminalError(message, code="path_refused") from error
            case errno.EISDIR | errno.ENXIO:
                raise TerminalError(f"{path} is not a regular file", code="not_a_file") from error
            case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENAMETOOLONG:
                raise TerminalError(f"the path {path!r} is refused: {error.strerror}", code="path_refused") from error
            case _:
                raise RetryableError(f"{path}: {error.strerror}", code="file_io") from error
