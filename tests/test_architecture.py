"""The rules of the house that no other tool holds: purity by file name, size of files and bodies, words, docstrings.

Each test lists all offenders as `file:line: what is wrong`. import-linter holds the layers (see pyproject.toml).
"""

import ast
import re
import statistics
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agents", "bench", "cloud", "coordination", "deploy", "edge", "sync", "workflow")
# Every module is pure, except those with these names and those in packages that exist to touch the world.
EFFECTFUL_NAMES = {"actors", "api", "blobs", "driver", "log", "main", "service"}
EFFECTFUL_PACKAGES = {"agents", "bench", "deploy", "tiercel"}
WORLD = {
    *("apsw", "asyncio", "concurrent", "fastapi", "grpc", "httpx", "multiprocessing", "os", "psutil", "random", "ray"),
    *("redis", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "starlette"),
    *("subprocess", "tempfile", "threading", "time", "uuid", "uvicorn", "websockets"),
}
CLOCK_READINGS = re.compile(r"(\w+\.)?(datetime\.(now|utcnow|today)|date\.today)")

FILE_LINES_MAX = 450
BODY_LINES_MEDIAN_MAX = 8
BODY_LINES_P90_MAX = 20
BODY_LINES_MAX = 70

VAGUE_WORD = re.compile(r"(Manager|Handler|Helper|Impl|Base|Util|Utils)(?![a-z])")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
TEXT_SUFFIXES = {".css", ".html", ".js", ".md", ".proto", ".py", ".service", ".sh", ".toml", ".yaml", ".yml"}


def is_generated(path: Path) -> bool:
    return "_pb2" in path.name


def in_folders(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if not is_generated(path))


def our_sources() -> list[Path]:
    return in_folders(*PACKAGES, "sdk/tiercel", "examples")


def our_tests() -> list[Path]:
    return in_folders("tests")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def place(path: Path, line: int = 1) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "tiercel" if parts[0] == "sdk" else parts[0]


def refuse(offenders: Iterable[str]) -> None:
    found = sorted(offenders)
    assert not found, f"{len(found)} found\n" + "\n".join(found)


# Purity


def test_pure_modules_import_nothing_of_the_world() -> None:
    """A module that decides imports neither the world nor one of our modules that touches it."""
    refuse(offence for path in our_sources() if is_pure(path) for offence in impurities(path, tree(path)))


def is_pure(path: Path) -> bool:
    """An `__init__` of any package but the SDK is pure too: importing a package must not start anything."""
    if path.stem == "__init__":
        return package_of(path) in PACKAGES
    return package_of(path) in set(PACKAGES) - EFFECTFUL_PACKAGES and path.stem not in EFFECTFUL_NAMES


def impurities(path: Path, module: ast.Module) -> Iterator[str]:
    for line, names in imports_at_runtime(module):
        for name in names:
            if reason := impurity_of(name):
                yield f"{place(path, line)}: a pure module imports {name} ({reason})"
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and CLOCK_READINGS.fullmatch(ast.unparse(node)):
            yield f"{place(path, node.lineno)}: a pure module reads the clock ({ast.unparse(node)}): take `now` instead"


def imports_at_runtime(module: ast.Module) -> Iterator[tuple[int, list[str]]]:
    """Line and dotted names of each import; `from a import b` may name a module or a thing in it, so it gives both."""
    typing_only = {
        child
        for node in ast.walk(module)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names) if node not in typing_only:
                yield node.lineno, [alias.name for alias in names]
            case ast.ImportFrom(module=str(source), names=names) if node not in typing_only:
                yield node.lineno, [source, *(f"{source}.{alias.name}" for alias in names)]


def impurity_of(name: str) -> str:
    package, *rest = name.split(".")
    if package in WORLD:
        return "it touches the world: hand in what is needed, or move this to an effectful module"
    if package == "tiercel":
        stubs_only = rest[:1] == ["v1"] and not any(part.endswith("_pb2_grpc") for part in rest)
        return "" if stubs_only else "of the SDK, the messages in tiercel.v1 alone are pure"
    if package in EFFECTFUL_PACKAGES:
        return f"{package} exists to touch the world"
    if package in PACKAGES and any(is_module(package, *rest[:depth]) for depth in in_the_world(rest)):
        return "that module touches the world"
    return ""


def in_the_world(parts: list[str]) -> list[int]:
    """How deep names of effectful modules are, counted from 1: a part of a package may have its own `api` or `service`."""
    return [depth for depth, part in enumerate(parts, 1) if part in EFFECTFUL_NAMES]


def is_module(*parts: str) -> bool:
    return ROOT.joinpath(*parts).with_suffix(".py").exists()


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import time", False),
        ("from os.path import join", False),
        ("import redis.asyncio as redis", False),
        ("from tiercel import Agent", False),
        ("from tiercel.v1 import agent_pb2_grpc", False),
        ("from agents import host", False),
        ("if wanted:\n    import socket", False),
        ("from cloud.schedule import service", False),
        ("from cloud.schedule.api import schedule_routes", False),
        ("from cloud.schedule.core import CloudSchedules", True),
        ("from datetime import datetime\nstart = datetime.now()", False),
        ("from datetime import datetime, timedelta", True),
        ("from tiercel.v1 import agent_pb2", True),
        ("from sync.values import Now", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import grpc", True),
        ("import timeit_of_ours", True),
    ],
)
def test_purity_knows_its_cases(statement: str, allowed: bool) -> None:
    """The rule of purity sees every way to import, and lets types and messages pass."""
    assert bool(list(impurities(ROOT / "sync/example.py", ast.parse(statement)))) is not allowed


@pytest.mark.parametrize(
    ("file", "pure"),
    [
        ("sync/session.py", True),
        ("workflow/__init__.py", True),
        ("agents/__init__.py", True),
        ("sync/driver.py", False),
        ("cloud/api.py", False),
        ("deploy/up.py", False),
        ("sdk/tiercel/agent.py", False),
        ("sdk/tiercel/__init__.py", False),
        ("examples/agent.py", False),
    ],
)
def test_purity_follows_from_the_name(file: str, pure: bool) -> None:
    """A new module is pure unless its name or its package says otherwise."""
    assert is_pure(ROOT / file) is pure


# Size


def test_no_file_is_too_long() -> None:
    """No source file has more than 450 lines."""
    lengths = ((path, len(path.read_text("utf-8").splitlines())) for path in our_sources())
    refuse(f"{place(path)}: {lines} lines" for path, lines in lengths if lines > FILE_LINES_MAX)


def test_no_body_is_too_long() -> None:
    """No function body has more than 70 lines, nine of ten at most 20, the one in the middle at most 8."""
    found = bodies()
    refuse(f"{where}: the body has {lines} lines" for lines, where in found if lines > BODY_LINES_MAX)
    lengths = [lines for lines, _ in found]
    longest = "\n".join(f"{where}: {lines} lines" for lines, where in found[-len(found) // 10 :])
    assert statistics.median(lengths) <= BODY_LINES_MEDIAN_MAX, f"the median body is too long; the longest are\n{longest}"
    p90 = lengths[len(lengths) * 9 // 10]
    assert p90 <= BODY_LINES_P90_MAX, f"p90 of bodies is {p90} lines; the longest are\n{longest}"


def bodies() -> list[tuple[int, str]]:
    """Lines of each function body without its docstring, shortest first, and where it is."""
    return sorted(
        (body_lines(node), f"{place(path, node.lineno)}: {node.name}") for path in our_sources() for node in functions(path)
    )


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0


# Words


def test_every_module_says_what_it_is_for() -> None:
    """Every module, of source and of tests, begins with a docstring."""
    refuse(f"{place(path)}: no module docstring" for path in our_sources() + our_tests() if not ast.get_docstring(tree(path)))


def test_every_test_is_a_sentence() -> None:
    """Every test's docstring says in a sentence what holds."""
    refuse(
        f"{place(path, node.lineno)}: {node.name} has no docstring"
        for path in our_tests()
        if path.name.startswith("test_")
        for node in functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    )


def test_names_say_something() -> None:
    """No class and no module is called Manager, Handler, Helper, Impl, Base or Util."""
    refuse(
        f"{place(path, node.lineno)}: class {node.name}"
        for path in our_sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and VAGUE_WORD.search(node.name)
    )
    refuse(f"{place(path)}: module {path.stem}" for path in our_sources() if VAGUE_WORD.search(path.stem.title()))


def test_nothing_is_left_for_later() -> None:
    """What is not built is an issue, not a note in a file."""
    refuse(
        f"{place(path, number)}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    )


def texts() -> Iterator[Path]:
    folders = (*PACKAGES, "sdk", "examples", "tests", "protos", "docs", ".ci")
    for path in [*ROOT.iterdir(), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]:
        if path.is_file() and (path.suffix in TEXT_SUFFIXES or path.name in {"Makefile", "run"}):
            yield path


def test_tests_are_no_package() -> None:
    """Under tests/ there is no __init__.py, or tests/sync would shadow sync."""
    refuse(place(path) for path in (ROOT / "tests").rglob("__init__.py"))


def test_every_package_is_known() -> None:
    """The packages that are there are the packages that each list of them names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    listed = {
        "hatch": project["hatch"]["build"]["targets"]["wheel"]["packages"],
        "importlinter": project["importlinter"]["root_packages"],
        "isort": project["ruff"]["lint"]["isort"]["known-first-party"],
        "mypy": project["mypy"]["files"],
        "pytest": re.findall(r"\w+", project["pytest"]["ini_options"]["filterwarnings"][0]),
    }
    there = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    if list((ROOT / "examples").glob("*.py")) and "examples" not in listed["mypy"]:
        refuse(["mypy does not check examples"])
    refuse(f"{tool} does not name {package}" for tool, names in listed.items() for package in there - set(names))
    assert there == set(PACKAGES)
