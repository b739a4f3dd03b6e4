"""Writing a small file so that a crash at any moment leaves the old content, the new content or nothing, and never
half of one.

The bytes go to a temporary file beside the target, are synced, take the target's name in one step, and then the
directory is synced, because the name lives there. (POSIX rename and link; Pillai et al., "All File Systems Are Not
Created Equal", OSDI 2014.) A temporary file that a crash left behind begins with `.tmp-` and means nothing.

Directories are file descriptors here, so that nobody can exchange one for a symlink between a check and its use.
"""

import os
import secrets

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


def _write_temporary(directory: int, data: bytes) -> str:
    temporary = TEMPORARY_PREFIX + secrets.token_hex(8)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(file)
    return temporary
