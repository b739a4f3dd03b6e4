"""Writing a small file so that a crash at any moment leaves the old content, the new content or nothing, and never
half of one.

The bytes go to a temporary file beside the target, are synced, take the target's name in one step, and then the
directory is synced, because the name lives there. (POSIX rename and link; Pillai et al., "All File Systems Are Not
Created Equal", OSDI 2014.) A temporary file that a crash left behind begins with `.tmp-` and means nothing.

Directories are file descriptors here, so that nobody can exchange one for a symlink between a check and its use.
"""

import ctypes
import errno
import os
import secrets
import sys
from collections.abc import Iterable
from contextlib import suppress

TEMPORARY_PREFIX = ".tmp-"


def replace(directory: int, name: str, data: bytes) -> None:
    """The file `name` in `directory` holds exactly `data`, durably, when this returns; another content is replaced.

    Raises OSError; the old content is then still there, unless only the last sync failed.
    """
    temporary = _write_temporary(directory, data)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


def create(directory: int, name: str, data: bytes) -> bool:
    """True: the file is new and holds `data`, durably. False: it was there before, whole and durable, and was left
    alone.

    Of several that call at once exactly one gets True. Raises OSError.
    """
    temporary = _write_temporary(directory, data)
    try:
        # A link is refused when the name is taken; a rename would replace what another call has reported as done.
        os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        created = True
    except FileExistsError:
        created = False
    finally:
        os.unlink(temporary, dir_fd=directory)
    # Synced in both cases: whoever made the name may have died before it was durable.
    os.fsync(directory)
    return created


def stage(directory: int, token: str, chunks: Iterable[bytes]) -> str:
    """The name of a temporary file that holds `chunks`, durably; one that an earlier attempt left there is replaced."""
    name = TEMPORARY_PREFIX + token
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
    _write_new(directory, name, chunks)
    os.fsync(directory)
    return name


def rename_new(source: int, name: str, target: int, new_name: str) -> None:
    """Rename, in one step and only if the new name is free. Raises FileExistsError if it is not, and OSError.

    Where the file system has no such step (NFS), a link and an unlink: a crash between them leaves both names.
    """
    sys.audit("os.rename", name, new_name, source, target)  # As os.rename does: whoever audits renames sees this one too.
    if _renameat2(source, name.encode(), target, new_name.encode(), _NO_REPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), name, None, new_name)
    os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    os.unlink(name, dir_fd=source)


def _no_renameat2(*_: object) -> int:
    ctypes.set_errno(errno.ENOSYS)
    return -1


_NO_REPLACE = 1
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", _no_renameat2)  # Linux, glibc since 2.28.


def _write_temporary(directory: int, data: bytes) -> str:
    temporary = TEMPORARY_PREFIX + secrets.token_hex(8)
    _write_new(directory, temporary, [data])
    return temporary


def _write_new(directory: int, name: str, chunks: Iterable[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(file, rest) :]
        os.fsync(file)
    except BaseException:
        os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(file)
