"""What differs from one database to the other: connecting, reading only, stopping in time, and claiming a key."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    exc,
    insert,
    select,
    text,
    update,
)

from tiercel.errors import TerminalError

TABLE = """CREATE TABLE IF NOT EXISTS tiercel_effects (
    effect_key VARCHAR(400) NOT NULL PRIMARY KEY, statement VARCHAR(64) NOT NULL, result TEXT, done_ms BIGINT NOT NULL)"""
FENCES = """CREATE TABLE IF NOT EXISTS tiercel_fences (
    run VARCHAR(400) NOT NULL PRIMARY KEY, epoch BIGINT NOT NULL)"""
_FENCES = Table("tiercel_fences", MetaData(), Column("run", String(400)), Column("epoch", BigInteger))
INSERT = "INSERT INTO tiercel_effects (effect_key, statement, done_ms) VALUES (:key, :statement, :done_ms)"


def make(url: str, connections: int) -> Engine:
    """Raises TerminalError if the URL is none, or its driver is not installed. The message holds no part of the URL."""
    try:
        engine = create_engine(url, pool_pre_ping=True, pool_size=connections, max_overflow=0, pool_timeout=10)
    except exc.ArgumentError:
        raise TerminalError("the database's URL is none: dialect+driver://user@host/name", code="database_refused") from None
    except (exc.NoSuchModuleError, ModuleNotFoundError) as error:
        message = f"the database's driver is not installed here: {error}"
        raise TerminalError(message, code="database_refused", recoverable=True) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _take_over_transactions)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _take_over_transactions(connection: Any, _: object) -> None:
    """Python's sqlite3 begins transactions only before some statements; SQLAlchemy shall say when."""
    connection.isolation_level = None
    # One database is one file: a statement must not bring others in.
    connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action in _FOREIGN else sqlite3.SQLITE_OK)


_FOREIGN = (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH)


def prepare(engine: Engine) -> None:
    """Make the tables if they are missing. Two that make them at the same moment are one too many for some databases."""
    with engine.connect() as connection:
        if not engine.dialect.has_table(connection, "tiercel_fences"):  # The younger one.
            try:
                connection.execute(text(TABLE))
                connection.execute(text(FENCES))
                connection.commit()
            except (exc.IntegrityError, exc.ProgrammingError):
                connection.rollback()
                if not engine.dialect.has_table(connection, "tiercel_fences"):
                    raise


def claim(connection: Connection, key: str, statement: str, done_ms: int) -> bool:
    """Write the key first: whoever comes second waits here for the first to commit, and is then refused."""
    try:
        with connection.begin_nested():
            connection.execute(text(INSERT), {"key": key, "statement": statement, "done_ms": done_ms})
    except exc.IntegrityError:
        return False
    return True


def admit(connection: Connection, run: str, epoch: int) -> int:
    """Let the run's home of this epoch through, and nobody of an earlier one from now on. The epoch that is highest here: if it
    is another one, nothing may be done. Whoever comes with a higher one waits until those before have committed."""
    of_run = _FENCES.c.run == run
    if connection.execute(select(_FENCES.c.epoch).where(of_run)).scalar() is None:
        with contextlib.suppress(exc.IntegrityError), connection.begin_nested():
            connection.execute(insert(_FENCES).values(run=run, epoch=epoch))
    connection.execute(update(_FENCES).where(of_run, _FENCES.c.epoch < epoch).values(epoch=epoch))
    return int(connection.execute(select(_FENCES.c.epoch).where(of_run).with_for_update(read=True)).scalar_one())


def record(connection: Connection, key: str, result: str) -> None:
    """Write the result beside its key."""
    connection.execute(
        text("UPDATE tiercel_effects SET result = :result WHERE effect_key = :key"), {"result": result, "key": key}
    )


def recorded(connection: Connection, key: str) -> tuple[str, str]:
    """(statement, result) of a key."""
    select = text("SELECT statement, result FROM tiercel_effects WHERE effect_key = :key")
    statement, result = connection.execute(select, {"key": key}).one()
    return str(statement), str(result)


@contextmanager
def read_only(connection: Connection) -> Iterator[None]:
    """Within it, the database refuses to change anything, where it can be asked to."""
    match connection.dialect.name:
        case "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = ON")
            try:
                yield
            finally:
                connection.rollback()
                connection.exec_driver_sql("PRAGMA query_only = OFF")
        case "postgresql" | "mysql" | "mariadb" | "oracle":
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            yield
        case _:
            yield  # It is rolled back in any case.


@contextmanager
def bounded(connection: Connection, timeout_s: float) -> Iterator[None]:
    """Within it, a statement that takes longer is stopped, where the database can do so."""
    match connection.dialect.name:
        case "postgresql":
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(timeout_s * 1_000)}")
            yield
        case "sqlite":
            driver: Any = connection.connection.driver_connection
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(timeout_s * 1_000)}")
            timer = threading.Timer(timeout_s, driver.interrupt)
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
        case _:
            yield
