"""`database_query` on real SQLite files, and on PostgreSQL where a server is at hand."""

import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.config import DatabaseSource
from agents.database import Databases
from coordination.breaker import BreakerPolicy
from tests.agents.attempts import context
from tests.free_ports import free_port
from tiercel import RetryableError, TerminalError
from tiercel.errors import Superseded

Query = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of our own."""
    tools = [shutil.which(name) for name in ("initdb", "postgres")]
    if not all(tools):
        pytest.skip("no PostgreSQL is installed here")
    folder = tmp_path_factory.mktemp("postgres")
    data, port = folder / "data", free_port()
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:  # The server refuses to run as root.
        user = pwd.getpwnam("nobody")
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(folder, user.pw_uid, user.pw_gid)
        for parent in [folder, *folder.parents][:4]:
            if parent.owner() == "root" and parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o011)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **owner}
    made = subprocess.run([str(tools[0]), "-D", data, "-U", "tiercel", "-A", "trust", "--no-sync"], check=False, **quiet)
    if made.returncode:
        pytest.skip("PostgreSQL cannot be set up here")
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    server = subprocess.Popen([str(tools[1]), "-D", str(data), *options], **quiet)
    url = f"postgresql+psycopg://tiercel@127.0.0.1:{port}/postgres"
    give_up = time.monotonic() + 100
    while True:  # Not by our own action: its breaker would be open by the time that the server is there.
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=tiercel dbname=postgres").close()
            break
        except psycopg.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)
    yield url
    server.send_signal(signal.SIGINT)
    server.wait(60)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres"))
    return f"sqlite:///{tmp_path}/stock.db"


@pytest.fixture
def query(url: str) -> Iterator[Query]:
    """The capability over a database `db` with the table `stock (sku, n)`."""
    databases = Databases({"db": DatabaseSource(url=url, rows_max=100), "ro": DatabaseSource(url=url, read_only=True)}, None)

    def query(
        sql: str, *, key: str = "q", effect: str = "once", database: str = "db", home: int = 2, **more: Any
    ) -> dict[str, Any]:
        return databases.query(context(task=key, effect=effect, home=home), database, sql, **more)

    for table in ("stock", "tiercel_effects", "tiercel_fences"):
        query(f"DROP TABLE IF EXISTS {table}", effect="repeatable", operation="execute")
    create = "CREATE TABLE stock (sku VARCHAR(40) PRIMARY KEY, n INTEGER)"
    query(create, effect="repeatable", operation="execute")
    rows = [{"sku": sku, "n": n} for sku, n in (("A", 1), ("B", 2), ("C", 3))]
    query("INSERT INTO stock VALUES (:sku, :n)", effect="repeatable", operation="execute", parameters=rows)
    yield query
    databases.close()


def code_of(query: Query, *arguments: Any, **more: Any) -> str:
    with pytest.raises((TerminalError, RetryableError)) as caught:
        query(*arguments, **more)
    return str(caught.value.code)


def stock(query: Query) -> dict[str, int]:
    rows = query("SELECT sku, n FROM stock ORDER BY sku")["rows"]
    return {row["sku"]: row["n"] for row in rows}


def test_parameters_are_bound(query: Query) -> None:
    """What is in a parameter is a value, never a part of the statement; a list is bound for IN."""
    nasty = "'; DROP TABLE stock; --"
    query("INSERT INTO stock VALUES (:sku, 9)", operation="execute", parameters={"sku": nasty})
    found = query("SELECT sku, n FROM stock WHERE sku = :sku", parameters={"sku": nasty})
    assert found == {"columns": ["sku", "n"], "rows": [{"sku": nasty, "n": 9}], "count": 1}
    listed = query("SELECT n FROM stock WHERE sku IN :skus ORDER BY n", parameters={"skus": ["A", "C"]})
    assert [row["n"] for row in listed["rows"]] == [1, 3]


@pytest.mark.parametrize(
    ("sql", "parameters", "said"),
    [
        ("SELECT :a", {}, "not given: a"),
        ("SELECT :a", {"a": 1, "b": 2}, "not in the statement: b"),
        ("SELECT 1; DELETE FROM stock", None, "one statement a task"),
        ("SELECT 'a;b' ; COMMIT;", None, "one statement a task"),
        ("COMMIT", None, "begins or ends a transaction"),
        ("/* x */ rollback", None, "begins or ends a transaction"),
        ("", None, "is empty"),
        ("SELECT 1", [], "nothing to execute"),
    ],
)
def test_a_statement_that_does_not_fit_is_refused(query: Query, sql: str, parameters: Any, said: str) -> None:
    """Names that are missing or too many, a second statement, an end of the transaction: each is said, and nothing is done."""
    with pytest.raises(TerminalError, match=said) as caught:
        query(sql, parameters=parameters, operation="execute")
    assert caught.value.code == "validation"


def test_quotes_and_comments_may_hold_semicolons(query: Query) -> None:
    """Only what the database would take for a second statement is one."""
    sql = "SELECT 'a;''b' AS one -- c;d\n, \"n\" /* ; */ FROM stock WHERE sku = 'A';"
    assert query(sql)["rows"] == [{"one": "a;'b", "n": 1}]


def test_what_a_home_orders_that_the_run_has_left_is_refused(query: Query) -> None:
    """Behind the run's fence nothing of an earlier home is done; what it had done before is still told, for it is a fact."""
    add = "UPDATE stock SET n = n + 1 WHERE sku = 'A'"
    query(add, operation="execute", key="one", home=2)
    query(add, operation="execute", key="two", home=3)
    with pytest.raises(Superseded, match="epoch 3, and this is of epoch 2") as refused:
        query(add, operation="execute", key="three", home=2)
    assert (refused.value.by, refused.value.code) == (3, "not_started")
    assert stock(query)["A"] == 3
    assert query(add, operation="execute", key="one", home=2)["repeated"] is True
    assert query(add, operation="execute", key="three", home=3)["affected"] == 1, "its key is not taken"


def test_a_later_home_waits_for_what_an_earlier_one_has_begun(postgres: str, tmp_path: Path) -> None:
    """Once the fence is raised, nothing that was begun before it can still be committed."""
    databases = Databases({"db": DatabaseSource(url=postgres)}, None)
    ask = partial(databases.query, database="db", operation="execute", sql="SELECT 1 WHERE pg_sleep(1.5) IS NOT NULL")
    done: list[str] = []

    def old() -> None:
        ask(context(run="waits", task="old", effect="once", home=2))
        done.append("old")

    thread = threading.Thread(target=old)
    thread.start()
    watch = psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True)
    sleeping = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(%' AND state = 'active' AND pid <> pg_backend_pid()"
    )
    while watch.execute(sleeping).fetchone() == (0,):
        time.sleep(0.01)
    databases.query(context(run="waits", task="new", effect="once", home=3), "db", "SELECT 1", operation="execute")
    done.append("new")
    thread.join()
    watch.close()
    databases.close()
    assert done == ["old", "new"]


def test_a_redelivered_statement_is_not_done_twice(query: Query) -> None:
    """Under its key the first execution stands and answers; another key is another effect, another statement is refused."""
    add = "UPDATE stock SET n = n + :more WHERE sku = 'A' RETURNING n"
    first = query(add, operation="execute", parameters={"more": 10})
    again = query(add, operation="execute", parameters={"more": 10})
    assert first["rows"] == [{"n": 11}]
    assert (first["repeated"], again) == (False, {**first, "repeated": True})
    assert query(add, key="other", operation="execute", parameters={"more": 10})["rows"] == [{"n": 21}]
    assert code_of(query, add, operation="execute", parameters={"more": 1}) == "key_reused"
    assert stock(query)["A"] == 21
    keys = query("SELECT effect_key FROM tiercel_effects ORDER BY effect_key")["rows"]
    assert [row["effect_key"] for row in keys] == ["run-1/other", "run-1/q"]


def test_a_repeatable_statement_leaves_no_key(query: Query) -> None:
    """Its class allows it to be done again."""
    for _ in range(2):
        query("UPDATE stock SET n = n + 1 WHERE sku = 'A'", effect="repeatable", operation="execute")
    assert stock(query)["A"] == 3
    assert code_of(query, "SELECT * FROM tiercel_effects") == "database_statement"


def test_what_fails_leaves_nothing(query: Query) -> None:
    """Neither the statement nor its key: the next attempt under the key may succeed."""
    insert = "INSERT INTO stock VALUES (:sku, :n)"
    assert code_of(query, insert, operation="execute", parameters={"sku": "A", "n": 9}) == "database_integrity"
    rows = [{"sku": "D", "n": 4}, {"sku": "A", "n": 9}]
    assert code_of(query, insert, key="many", operation="execute", parameters=rows) == "database_integrity"
    assert stock(query) == {"A": 1, "B": 2, "C": 3}
    assert query(insert, operation="execute", parameters={"sku": "E", "n": 5})["affected"] == 1


def test_rows_are_limited(query: Query) -> None:
    """At the limit all come, above it none do, and a statement that changed something has not."""
    assert query("SELECT * FROM stock", rows_max=3)["count"] == 3
    with pytest.raises(TerminalError, match="more than 2 rows: add a LIMIT") as caught:
        query("SELECT * FROM stock", rows_max=2)
    assert caught.value.code == "too_many_rows"
    assert code_of(query, "UPDATE stock SET n = 0 RETURNING n", operation="execute", rows_max=2) == "too_many_rows"
    assert stock(query) == {"A": 1, "B": 2, "C": 3}


def test_a_read_changes_nothing(query: Query) -> None:
    """The database itself refuses, and a database that is read-only here cannot even be asked."""
    assert code_of(query, "DELETE FROM stock") == "database_statement"
    assert code_of(query, "DELETE FROM stock", operation="execute", database="ro") == "database_refused"
    assert query("DELETE FROM stock WHERE sku = 'A'", operation="execute")["affected"] == 1


def test_only_what_is_configured_is_reached(query: Query) -> None:
    """An unknown name says which there are; an address that the workflow wrote itself is refused."""
    with pytest.raises(TerminalError, match="it names: db, ro") as caught:
        query("SELECT 1", database="erp")
    assert (caught.value.code, caught.value.recoverable) == ("database_unknown", True)
    assert code_of(query, "SELECT 1", database="sqlite:////etc/x.db") == "database_unknown"


def test_values_are_json(query: Query, url: str) -> None:
    """Numbers and text as they are, bytes as base64; PostgreSQL's dates, decimals, UUIDs, intervals and arrays as defined."""
    assert query("SELECT NULL AS void, 'x' AS t")["rows"] == [{"void": None, "t": "x"}]
    if url.startswith("sqlite"):
        row = query("SELECT x'00ff' AS b, 9e999 AS infinite, 2.5 AS f")["rows"][0]
        assert row == {"b": {"base64": "AP8="}, "infinite": None, "f": 2.5}
        return
    sql = """SELECT decode('00ff', 'hex') AS b, 12.50::numeric AS price, DATE '2026-11-24' AS day, 'NaN'::float8 AS nan,
        TIMESTAMP '2026-11-24 10:00' AS at, INTERVAL '90 seconds' AS long, ARRAY[1.0, 2.5] AS many, TIME '10:00' AS hour,
        '6a0e2e1c-0000-4000-8000-000000000000'::uuid AS id, '{"a": [1]}'::jsonb AS doc"""
    assert query(sql.replace(" '{\"a\": [1]}'::jsonb", " CAST(:doc AS jsonb)"), parameters={"doc": '{"a": [1]}'})["rows"][0] == {
        "b": {"base64": "AP8="},
        "price": "12.50",
        "day": "2026-11-24",
        "nan": None,
        "at": "2026-11-24T10:00:00",
        "long": 90.0,
        "many": ["1.0", "2.5"],
        "hour": "10:00:00",
        "id": "6a0e2e1c-0000-4000-8000-000000000000",
        "doc": {"a": [1]},
    }


SLOW = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c",
    "postgresql+psycopg": "SELECT pg_sleep(3600)",
}


def test_what_takes_too_long_is_stopped(query: Query, url: str) -> None:
    """A statement without end ends, and the database can be used again."""
    assert code_of(query, SLOW[url.partition(":")[0]], timeout_s=0.3) == "database_timeout"
    assert stock(query)["A"] == 1


def test_two_attempts_at_once_do_it_once(query: Query) -> None:
    """Redelivered while the first is still at it, the second waits and gives the same answer."""
    answers: list[dict[str, Any]] = []
    sql = "UPDATE stock SET n = n + 1 WHERE sku = 'A'"
    threads = [threading.Thread(target=lambda: answers.append(query(sql, operation="execute"))) for _ in range(5)]
    query("UPDATE stock SET n = n WHERE sku = 'B'", key="table", operation="execute")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer["repeated"] for answer in answers) == [False, True, True, True, True]
    assert stock(query)["A"] == 2


CHILD = """
import os, signal, sys
from sqlalchemy import event, Engine
from agents.config import DatabaseSource
from agents.database import Databases
from tests.agents.attempts import context

count = 0
def touch(*_):
    global count
    if count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
for name in ("before_cursor_execute", "after_cursor_execute", "commit", "begin"):
    event.listen(Engine, name, touch)
event.listen(Engine, "checkin", touch)
databases = Databases({"db": DatabaseSource(url=sys.argv[1])}, None)
sql = "UPDATE stock SET n = n + 1 WHERE sku = 'A'"
print(databases.query(context(task="add", effect="once"), "db", sql, operation="execute")["repeated"])
"""


def test_killed_anywhere_it_is_done_once(tmp_path: Path) -> None:
    """kill -9 at each step of the conversation with the database, and redelivered: the count has grown by one."""
    seen = set()
    for touch in range(0, 60, 3):
        file = tmp_path / f"{touch}.db"
        with sqlite3.connect(file) as setup:
            setup.executescript("CREATE TABLE stock (sku TEXT, n INT); INSERT INTO stock VALUES ('A', 1);")
        setup.close()
        url = f"sqlite:///{file}"
        command = [sys.executable, "-c", CHILD, url, str(touch)]
        first = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        seen.add(amount(file))
        answer = Databases({"db": DatabaseSource(url=url)}, None).query(
            context(task="add", attempt=2, effect="once"), "db", "UPDATE stock SET n = n + 1 WHERE sku = 'A'", operation="execute"
        )
        assert amount(file) == 2, f"killed at {touch}"
        assert answer["affected"] == 1
        if first.returncode == 0:
            break
        assert first.returncode == -signal.SIGKILL, first.stderr
    assert seen == {1, 2}


def amount(file: Path) -> int:
    with sqlite3.connect(file) as look:
        found = look.execute("SELECT n FROM stock").fetchone()[0]
    look.close()
    return int(found)


def test_a_locked_database_is_weather(tmp_path: Path) -> None:
    """While another process writes, the attempt fails and may be tried again; the words name no path and no parameter."""
    file = tmp_path / "x.db"
    databases = Databases({"db": DatabaseSource(url=f"sqlite:///{file}")}, None)
    databases.query(context(effect="repeatable"), "db", "CREATE TABLE t (x INT)", operation="execute")
    with sqlite3.connect(file) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RetryableError) as caught:
            databases.query(context(effect="once"), "db", "DELETE FROM t", operation="execute", timeout_s=0.2)
    other.close()
    assert caught.value.code == "database_unavailable"
    assert databases.query(context(effect="once"), "db", "DELETE FROM t", operation="execute")["affected"] == 0


def test_no_other_file_is_brought_in(tmp_path: Path) -> None:
    """One database is one file."""
    databases = Databases({"db": DatabaseSource(url=f"sqlite:///{tmp_path}/x.db")}, None)
    for operation in ("read", "execute"):
        with pytest.raises((TerminalError, RetryableError)):
            databases.query(
                context(effect="repeatable"),
                "db",
                f"ATTACH DATABASE '{tmp_path}/y.db' AS y",
                operation=operation,
            )
    assert not (tmp_path / "y.db").exists()


def test_the_address_may_be_a_secret(tmp_path: Path) -> None:
    """In the configuration, or as what the task names; it is in no message."""
    secrets = tmp_path / "secrets"
    secrets.write_text(f"stock-db=sqlite:///{tmp_path}/x.db\nbroken=nonsense\n")
    secrets.chmod(0o600)
    sources = {"db": DatabaseSource(url="secret://stock-db"), "bad": DatabaseSource(url="secret://broken")}
    databases = Databases({**sources, "gone": DatabaseSource(url="secret://gone")}, secrets)
    assert databases.query(context(), "db", "SELECT 1 AS x")["rows"] == [{"x": 1}]
    by_reference = context(given={"database": "secret://stock-db"})
    assert databases.query(by_reference, f"sqlite:///{tmp_path}/x.db", "SELECT 1 AS x")["count"] == 1
    for name, code in (("bad", "database_refused"), ("gone", "secret_unavailable")):
        with pytest.raises(TerminalError) as caught:
            databases.query(context(), name, "SELECT 1")
        assert caught.value.code == code
        assert "nonsense" not in str(caught.value)


def test_a_database_that_is_away_is_left_alone() -> None:
    """Nobody there is weather; after enough of it the attempt fails at once and says when to try again."""
    patience = BreakerPolicy(window=2, calls_min=2, open_ms=60_000)
    url = f"postgresql+psycopg://x@127.0.0.1:{free_port()}/x"
    databases = Databases({"db": DatabaseSource(url=url, breaker=patience)}, None)
    said = []
    for _ in range(3):
        with pytest.raises(RetryableError) as caught:
            databases.query(context(), "db", "SELECT 1")
        said.append((caught.value.code, 0 < caught.value.retry_after_ms <= 60_000))
    assert said == [("database_unavailable", False), ("database_unavailable", False), ("circuit_open", True)]


def test_a_missing_driver_is_named() -> None:
    """What is not installed here is said, and can be mended."""
    with pytest.raises(TerminalError, match="driver is not installed") as caught:
        Databases({"db": DatabaseSource(url="mysql+mysqldb://x/y")}, None).query(context(), "db", "SELECT 1")
    assert (caught.value.code, caught.value.recoverable) == ("database_refused", True)
