"""`database_query`: one SQL statement in one transaction, on a database that the host's configuration names.

    open a transaction
    write the task's key into `tiercel_effects`          # refused if it is there: then give back what is recorded
    let the run's fence through (`tiercel_fences`)        # refused if a later home of the run has been here
    execute the statement, its parameters bound
    write its result beside the key, commit              # the effect and its key, or neither

That both are one transaction is what makes it exactly once: a statement that was redelivered finds its key and is not
executed again, and a crash at any moment leaves either both or nothing. A task that is `repeatable` leaves no key.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import Connection, Engine, exc

from agents import engines
from agents.circuits import Circuits
from agents.config import ROWS_MAX, DatabaseSource
from agents.rows import Bound, as_json, bound, is_weather
from coordination.breaker import BreakerPolicy
from tiercel import TaskContext
from tiercel.errors import RetryableError, SecretUnavailable, Superseded, TerminalError
from tiercel.secrets import PREFIX, Secrets

Timeout = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class Databases:
    """The capability over the databases of one host. Any thread may use it.

    Failures are terminal, with the codes `database_unknown`, `database_refused` (policy), `database_statement`,
    `database_integrity`, `too_many_rows`, `key_reused` and `validation`; what may pass is retryable, with the codes
    `database_unavailable`, `database_timeout` and `circuit_open`.
    """

    def __init__(self, sources: dict[str, DatabaseSource], secrets: Path | None) -> None:
        """Connects to nothing yet. `secrets` is the site's secrets file."""
        self._sources, self._secrets = sources, Secrets(secrets)
        self._circuits = {name: Circuits(source.breaker) for name, source in sources.items()}
        self._by_secret = Circuits(BreakerPolicy())
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def capabilities(self) -> dict[str, Callable[..., Any]]:
        """By name, as an agent offers them."""
        return {"database_query": self.query}

    def close(self) -> None:
        """Let go of all connections. Another query opens them again."""
        with self._lock:
            engines, self._engines = self._engines, {}
        for engine in engines.values():
            engine.dispose()

    def query(
        self,
        task: TaskContext,
        database: str,
        sql: str,
        parameters: dict[str, Any] | list[dict[str, Any]] | None = None,
        operation: Literal["read", "execute"] = "read",
        rows_max: Annotated[int, msgspec.Meta(ge=1, le=ROWS_MAX)] | None = None,
        timeout_s: Timeout = 30.0,
    ) -> dict[str, Any]:
        """{columns, rows: [{column: value}], count}, and for `execute` {affected, repeated} as well.

        `database` is a name of the host's configuration, or `secret://name` whose value is a URL. `sql` is one statement; its
        `:names` are bound to `parameters`, a list for `IN :names` too, and a list of objects executes it for each. A read
        cannot change anything. More than `rows_max` rows are an error, and nothing is done.
        """
        source, label, circuits = self._find(task, database)
        if operation == "execute" and source.read_only:
            raise TerminalError(f"database {label} is read-only here", code="database_refused", recoverable=True)
        engine = self._engine(source)
        limit = source.rows_max if rows_max is None else rows_max
        do = partial(self._read if operation == "read" else self._execute, task, engine, bound(sql, parameters), limit)
        with circuits.through(str(engine.url.set(password=None, query={}))), _reported(label, timeout_s):
            return do(timeout_s)

    def _find(self, task: TaskContext, database: str) -> tuple[DatabaseSource, str, Circuits]:
        if task.was_secret("database"):
            # The site's own secrets file says which databases there are; an address that a workflow wrote is not taken.
            return DatabaseSource(url=database), "of the secret", self._by_secret
        source = self._sources.get(database)
        if source is None:
            known = ", ".join(sorted(self._sources)) or "none"
            message = f"the host's configuration names no database {database!r} (it names: {known}); a URL must be a secret"
            raise TerminalError(message, code="database_unknown", recoverable=True)
        return source, database, self._circuits[database]

    def _engine(self, source: DatabaseSource) -> Engine:
        url = source.url
        if url.startswith(PREFIX):
            try:
                url = self._secrets.resolve({"url": url})[0]["url"]
            except SecretUnavailable as error:
                raise TerminalError(str(error), code="secret_unavailable", recoverable=True) from error
        with self._lock:
            if url not in self._engines:
                self._engines[url] = engines.make(url, source.connections)
            return self._engines[url]

    def _read(self, task: TaskContext, engine: Engine, what: Bound, limit: int, timeout_s: float) -> dict[str, Any]:
        with engine.connect() as connection, engines.read_only(connection), engines.bounded(connection, timeout_s):
            told = _rows(connection, what, limit)  # Never committed.
        del told["affected"]
        return told

    def _execute(self, task: TaskContext, engine: Engine, what: Bound, limit: int, timeout_s: float) -> dict[str, Any]:
        if task.effect == "repeatable":
            with engine.begin() as connection, engines.bounded(connection, timeout_s):
                return {**_rows(connection, what, limit), "repeated": False}
        key = _within(task.idempotency_key)
        engines.prepare(engine)
        with engine.begin() as connection, engines.bounded(connection, timeout_s):
            if not engines.claim(connection, key, what.digest(), time.time_ns() // 1_000_000):
                return _recorded(connection, key, what.digest())
            if (highest := engines.admit(connection, _within(task.run), task.fence)) != task.fence:
                raise Superseded(f"database {engine.url.database}", task.fence, highest)
            result = _rows(connection, what, limit)
            engines.record(connection, key, msgspec.json.encode(result).decode())
        return {**result, "repeated": False}


def _within(name: str) -> str:
    """The name as a column takes it."""
    return name if len(name) <= 400 else sha256(name.encode()).hexdigest()


def _rows(connection: Connection, what: Bound, limit: int) -> dict[str, Any]:
    many = len(what.parameters) != 1
    found = connection.execute(what.statement, what.parameters if many else what.parameters[0])
    if not found.returns_rows:
        return {"columns": [], "rows": [], "count": 0, "affected": max(0, found.rowcount)}
    rows = found.fetchmany(limit + 1)
    if len(rows) > limit:
        message = f"the statement gives more than {limit} rows: add a LIMIT or a WHERE, or raise rows_max (at most {ROWS_MAX})"
        raise TerminalError(message, code="too_many_rows")
    columns = list(found.keys())
    if len(set(columns)) != len(columns):
        raise TerminalError(f"two columns have one name ({', '.join(columns)}): name them with AS", code="validation")
    told = [{name: as_json(value) for name, value in zip(columns, row, strict=True)} for row in rows]
    return {"columns": columns, "rows": told, "count": len(told), "affected": max(0, found.rowcount)}


def _recorded(connection: Connection, key: str, digest: str) -> dict[str, Any]:
    """What an earlier attempt did under this key."""
    statement, result = engines.recorded(connection, key)
    if statement != digest:
        message = f"under the key {key} another statement was executed before: a key is for one effect"
        raise TerminalError(message, code="key_reused", recoverable=True)
    return {**msgspec.json.decode(result), "repeated": True}


@contextlib.contextmanager
def _reported(label: str, timeout_s: float) -> Iterator[None]:
    """Errors of the database as outcomes of a task. Messages hold the driver's words, never a parameter or a password."""
    try:
        yield
    except exc.DBAPIError as error:
        said = f"database {label}: {error.orig}"
        if "interrupted" in str(error.orig) or "statement timeout" in str(error.orig):
            raise RetryableError(f"{said} (after {timeout_s:g} s)", code="database_timeout") from error
        if is_weather(error):
            raise RetryableError(said, code="database_unavailable") from error
        code = "database_integrity" if isinstance(error, exc.IntegrityError) else "database_statement"
        raise TerminalError(said, code=code) from error
    except exc.TimeoutError as error:
        raise RetryableError(f"database {label}: all connections are busy", code="database_unavailable") from error
    except exc.SQLAlchemyError as error:
        raise TerminalError(f"database {label}: {type(error).__name__}: {error}", code="database_statement") from error
