"""`file_operation`: read, write, copy, move, delete, list and look at files inside the allowed root.

What changes something happens once for each idempotency key, unless the task is `repeatable`:

    the content is staged beside its place (written, fsynced)   # write and copy
    the intent is recorded under the key: what is asked, and which file is meant
    one rename does it, and the folders are synced
    the result is recorded under the key

An attempt that finds a result gives it back. One that finds an intent alone sees by the staged file (or the one put aside),
or by the identity of the file that was meant, whether the step between was taken, and takes it if it was not. Where that
cannot be seen, because others have changed the file in between, it says `file_changed` and does nothing. The records lie in
`.tiercel` at the top of the root, on the file system of the effects, and are kept for 30 days.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from agents import durable
from agents.files import Encoding, Files, as_bytes, measures
from agents.ledger import Ledger
from agents.root import OWN_FOLDER, Root, refuse_symlink, reported
from tiercel import TaskContext
from tiercel.errors import TerminalError

Operation = Literal["read", "write", "copy", "move", "delete", "list", "exists"]

ENTRIES_MAX = 10_000
KEPT_S = 30 * 86_400
SWEEP_EVERY = 1_000
_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Identity = list[int]
"""Device, inode, time of the last change and size: the same file with the same content."""


class FileOperation:
    """The capability over one root.

    Failures are terminal, with the codes `path_refused`, `file_not_found`, `file_exists`, `file_too_large`, `not_a_file`,
    `file_changed`, `key_reused` and `validation`; what may pass is retryable, with the code `file_io`.
    """

    def __init__(self, root: Path) -> None:
        """`root` must exist."""
        self._root, self._files = Root(root), Files(root)
        self._recorded = 0

    def capabilities(self) -> dict[str, Callable[..., Any]]:
        """By name, as an agent offers them."""
        return {"file_operation": self.perform}

    def perform(
        self,
        task: TaskContext,
        operation: Operation,
        path: str = "",
        to: str | None = None,
        content: str | None = None,
        encoding: Encoding = "utf-8",
        overwrite: bool = True,
        missing_ok: bool = False,
    ) -> dict[str, Any]:
        """Do `operation` to `path`, which is relative to the allowed root; copy and move need `to`, write needs `content`.

        read: {path, content, bytes, sha256}. write: {path, bytes, sha256}. copy: {path, to, bytes, sha256}. move: {path, to}.
        delete (a file or an empty folder): {path, deleted}. list: {path, entries: [{name, kind, bytes, modified_ms}]}.
        exists: {path, exists, kind, bytes}. What changed something says `repeated` if an earlier attempt had done it.
        """
        _check(operation, to, content)
        match operation:
            case "read":
                return self._files.read(path, encoding)
            case "list":
                return self._list(path)
            case "exists":
                return self._look(path)
            case "delete":
                asked: dict[str, Any] = {"operation": operation, "path": path, "missing_ok": missing_ok}
                return self._once(task, asked, lambda token: self._meant_to_go(path, token, missing_ok), self._delete)
            case "move":
                asked = {"operation": operation, "path": path, "to": to, "overwrite": overwrite}
                return self._once(task, asked, lambda _: self._meant(path), self._move)
            case "copy":
                asked = {"operation": operation, "path": path, "to": to, "overwrite": overwrite}
                return self._once(task, asked, lambda token: self._stage_copy(path, str(to), token), self._put)
            case "write":
                data = as_bytes(path, str(content), encoding)
                asked = {"operation": operation, "path": path, "overwrite": overwrite, **measures(data)}
                return self._once(task, asked, lambda token: self._stage(path, data, token), self._put)

    # Once -------------------------------------------------------------------------------------------------------------

    def _once(
        self,
        task: TaskContext,
        asked: dict[str, Any],
        prepare: Callable[[str], dict[str, Any]],
        carry_out: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
    ) -> dict[str, Any]:
        """`carry_out(asked, intent)` may be called again for the same intent: it sees what has happened."""
        key = task.idempotency_key
        token = sha256(key.encode()).hexdigest()[:24]
        if task.effect == "repeatable":
            meant = prepare(f"{token}-{task.attempt}")
            result = carry_out(asked, meant)
            self._forget(asked, meant)
            return {**result, "repeated": False}
        with reported(f"{OWN_FOLDER} at the top of the root"):
            intents, results = self._ledgers()
            done = results.entry(key)
        if done is not None:
            _check_same(key, asked, done["asked"])
            if (intent := intents.entry(key)) is not None:
                self._forget(asked, intent["meant"])
            return {**done["result"], "repeated": True}
        intent = intents.entry(key)
        if intent is None:
            intent = intents.record(key, {"asked": asked, "meant": prepare(token)})
        _check_same(key, asked, intent["asked"])
        result = carry_out(asked, intent["meant"])
        results.record(key, {"asked": asked, "result": result})
        self._forget(asked, intent["meant"])
        self._recorded += 1
        return {**result, "repeated": False}

    def _ledgers(self) -> tuple[Ledger, Ledger]:
        own = self._root.path / OWN_FOLDER
        folders = own / "intents", own / "results"
        if not all(folder.is_dir() for folder in folders):
            for folder in folders:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (own, self._root.path):
                _sync(folder)  # A name is durable when its folder is.
        if self._recorded % SWEEP_EVERY == 0:
            for folder in folders:
                _sweep(folder, time.time() - KEPT_S)
        return Ledger(folders[0]), Ledger(folders[1])

    # Preparing: nothing that anybody sees -----------------------------------------------------------------------------

    def _meant(self, path: str) -> dict[str, Any]:
        """Which file is there."""
        with reported(path), self._root.folder_of(path) as (folder, name):
            refuse_symlink(folder, name, path)
            return {"identity": _identity(os.stat(name, dir_fd=folder, follow_symlinks=False))}

    def _meant_to_go(self, path: str, token: str, missing_ok: bool) -> dict[str, Any]:
        """Which file or empty folder is there, and where it is put aside."""
        with reported(path), self._root.folder_of(path) as (folder, name):
            refuse_symlink(folder, name, path)
            status = _status(folder, name)
            if status is None and not missing_ok:
                raise TerminalError(f"{path} does not exist under the allowed root", code="file_not_found")
            is_folder = status is not None and stat.S_ISDIR(status.st_mode)
            aside = None if status is None or is_folder else durable.TEMPORARY_PREFIX + token
            return {"identity": status and _identity(status), "is_folder": is_folder, "aside": aside}

    def _stage(self, path: str, data: bytes, token: str) -> dict[str, Any]:
        with reported(path), self._root.folder_of(path, make=True) as (folder, name):
            refuse_symlink(folder, name, path)
            return {"staged": durable.stage(folder, token, [data]), "result": {"path": path, **measures(data)}}

    def _stage_copy(self, path: str, to: str, token: str) -> dict[str, Any]:
        with reported(path), self._opened(path) as file:
            digest, size = sha256(), 0

            def chunks() -> Iterator[bytes]:
                nonlocal size
                while chunk := os.read(file, _CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    yield chunk

            with reported(to), self._root.folder_of(to, make=True) as (folder, name):
                refuse_symlink(folder, name, to)
                staged = durable.stage(folder, token, chunks())
        return {"staged": staged, "result": {"path": path, "to": to, "bytes": size, "sha256": digest.hexdigest()}}

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        with self._root.folder_of(path) as (folder, name):
            file = os.open(name, _READ, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise TerminalError(f"{path} is not a regular file", code="not_a_file")
            yield file
        finally:
            os.close(file)

    # Carrying out: may be repeated for the same intent ----------------------------------------------------------------

    def _put(self, asked: dict[str, Any], intent: dict[str, Any]) -> dict[str, Any]:
        """Give the staged file its name. If it is no longer staged, an earlier attempt has."""
        path, staged = asked.get("to") or asked["path"], intent["staged"]
        with reported(path), self._root.folder_of(path, make=True) as (folder, name):
            with suppress(FileNotFoundError):
                _rename(folder, staged, folder, name, path, asked["overwrite"])
            os.fsync(folder)
        result: dict[str, Any] = intent["result"]
        return result

    def _move(self, asked: dict[str, Any], intent: dict[str, Any]) -> dict[str, Any]:
        path, to, meant = asked["path"], asked["to"], intent["identity"]
        with (
            reported(f"{path} or {to}"),
            self._root.folder_of(path) as (source, name),
            self._root.folder_of(to, make=True) as (target, new_name),
        ):
            refuse_symlink(target, new_name, to)
            if _look_at(source, name) == meant:
                _rename(source, name, target, new_name, to, asked["overwrite"])
            elif _look_at(target, new_name) != meant:
                raise _changed(path)
            os.fsync(target)
            os.fsync(source)
        return {"path": path, "to": to}

    def _delete(self, asked: dict[str, Any], intent: dict[str, Any]) -> dict[str, Any]:
        """A file is only put aside here: while it is there, no other gets its inode, and an attempt that finds it knows."""
        path, meant, aside = asked["path"], intent["identity"], intent["aside"]
        if meant is None:
            return {"path": path, "deleted": False}
        with reported(path), self._root.folder_of(path) as (folder, name):
            status = _status(folder, name)
            if status is not None and stat.S_ISDIR(status.st_mode):
                if _identity(status) == meant:
                    os.rmdir(name, dir_fd=folder)
            elif not intent["is_folder"] and _status(folder, aside) is None:
                if status is None or _identity(status) != meant:
                    raise _changed(path)
                os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        return {"path": path, "deleted": True}

    def _forget(self, asked: dict[str, Any], intent: dict[str, Any]) -> None:
        """The result is on record: what was put aside is not needed any more."""
        aside = intent.get("aside")
        if aside is not None:
            with suppress(FileNotFoundError), self._root.folder_of(asked["path"]) as (folder, _):
                os.unlink(aside, dir_fd=folder)

    # Looking ----------------------------------------------------------------------------------------------------------

    def _list(self, path: str) -> dict[str, Any]:
        with reported(path or "the root"), self._root.folder(path) as folder:
            names = sorted(name for name in os.listdir(folder) if not _is_own(name, path))  # noqa: PTH208 - It is a descriptor.
            if len(names) > ENTRIES_MAX:
                raise TerminalError(f"{path} holds {len(names)} names, at most {ENTRIES_MAX} are listed", code="file_too_large")
            found = [(name, _status(folder, name)) for name in names]
        return {"path": path, "entries": [{"name": name, **_shown(status)} for name, status in found if status is not None]}

    def _look(self, path: str) -> dict[str, Any]:
        try:
            with reported(path), self._root.folder_of(path) as (folder, name):
                status = _status(folder, name)
        except TerminalError as error:
            if error.code != "file_not_found":
                raise
            status = None
        return {"path": path, "exists": status is not None, **(_shown(status) if status is not None else {})}


def _check(operation: str, to: str | None, content: str | None) -> None:
    needs = {"copy": {"to"}, "move": {"to"}, "write": {"content"}}.get(operation, set())
    given = {name for name, value in (("to", to), ("content", content)) if value is not None}
    if missing := needs - given:
        raise TerminalError(f"{operation} needs {missing.pop()}", code="validation")
    if extra := given - needs:
        raise TerminalError(f"{operation} takes no {sorted(extra)[0]}", code="validation")


def _check_same(key: str, asked: dict[str, Any], before: dict[str, Any]) -> None:
    if asked != before:
        other = f"{before['operation']} {before['path']}"
        message = f"under the key {key} something else was asked before ({other}): a key is for one effect"
        raise TerminalError(message, code="key_reused", recoverable=True)


def _changed(path: str) -> TerminalError:
    message = f"somebody else has moved or changed {path} since this task first meant it; look at it and decide"
    return TerminalError(message, code="file_changed", recoverable=True)


def _rename(source: int, name: str, target: int, new_name: str, path: str, overwrite: bool) -> None:
    if overwrite:
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
        return
    try:
        durable.rename_new(source, name, target, new_name)
    except FileExistsError:
        raise TerminalError(f"{path} exists already, and overwrite is false", code="file_exists") from None


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _look_at(folder: int, name: str) -> Identity | None:
    status = _status(folder, name)
    return None if status is None else _identity(status)


def _identity(status: os.stat_result) -> Identity:
    return [status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size]


def _shown(status: os.stat_result) -> dict[str, Any]:
    mode = status.st_mode
    kind = "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "symlink" if stat.S_ISLNK(mode) else "other"
    return {"kind": kind, "bytes": status.st_size, "modified_ms": status.st_mtime_ns // 1_000_000}


def _is_own(name: str, folder: str) -> bool:
    return name.startswith(durable.TEMPORARY_PREFIX) or (name == OWN_FOLDER and not folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path, before_s: float) -> None:
    """Remove records that nobody will ask for any more."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < before_s:
                    Path(entry.path).unlink()
