"""The command: which measurement, how large, and JSON on stdout, a line for each row. Everything else goes to stderr."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType

from bench.disk import real_directory
from bench.errors import BenchFailed
from bench.options import Options

EFFECTS = ("repeatable", "once")
PROTOCOLS = ("auction",)
KILLS = ("edge", "site")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code: 0, or 1 with the reason on stderr."""
    options = parse(arguments)
    try:
        with notes_on_stderr():
            found = rows(options) if hasattr(module_of(options.name), "rows") else [measure(options)]
    except BenchFailed as error:
        print(f"bench {options.name}: {error}", file=sys.stderr)
        return 1
    print("\n".join(map(json.dumps, found)), flush=True)
    return 0


def rows(options: Options) -> list[dict[str, object]]:
    """The results of a measurement that has many, and the floors as the last."""
    found = [{"name": options.name, **row} for row in module_of(options.name).rows(options)]
    floors = importlib.import_module("bench.floors").measure_floors(real_directory(options.data)) if options.floors else None
    return [*found, {"name": options.name, "floors": floors}] if floors else found


def measure(options: Options) -> dict[str, object]:
    """The whole result."""
    directory = real_directory(options.data)
    figures = {"name": options.name, **module_of(options.name).measure(options)}
    if options.floors:
        figures["floors"] = importlib.import_module("bench.floors").measure_floors(directory)
    return figures


@contextmanager
def notes_on_stderr() -> Iterator[None]:
    """Inside, whatever is written to stdout goes to stderr, by libraries and child processes too: the result stands alone."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def module_of(name: str) -> ModuleType:
    """The measurement's module. What it needs is imported only when it runs, for Ray alone takes a second."""
    return importlib.import_module(f"bench.{name}")


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line. Exits with 2 and the usage if they make no sense."""
    found = vars(_parser().parse_args(arguments))
    return Options(**found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and print one line of JSON.")
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    steps = _add(names, "steps", "tasks per second, many runs at once", runs=2_000, tasks=10, effect=True, capacity=1_024)
    steps.add_argument("--coordination", choices=PROTOCOLS, default="", help="how tasks find their agents; default: directly")
    _add(names, "latency", "what one task costs, one run at a time", runs=100, tasks=10, effect=True)
    _add(names, "fanout", "one run of many parallel tasks and a join", tasks=1_000, repeats=5, capacity=1_024)
    recovery = _add(names, "recovery", "kill -9 midway", runs=500, tasks=10, repeats=3, capacity=500)
    recovery.add_argument("--kill", choices=KILLS, default="edge", help="the edge, or the edge and its agents")
    _add(names, "idle", "memory and wake-ups of runs that wait for an hour", runs=5_000)
    sync = _add(names, "sync", "the link: catching up, strong commits, going on after a cut", repeats=4)
    sync.add_argument("--events", type=positive, default=1_000_000, help="to catch up with")
    sync.add_argument("--commits", type=positive, default=20_000, help="strong ones, 64 in flight")
    consensus = _add(names, "consensus", "a group of three: a commit, many, and the time without a leader", repeats=3)
    consensus.add_argument("--commits", type=positive, default=20_000, help="1,000 in flight")
    consensus.add_argument("--kills", type=counted, default=10, help="kill -9 of the leader under load")
    failover = _add(names, "failover", "a site of three boxes: from the kill of its leader to the next task that is given out")
    failover.add_argument("--kills", type=counted, default=10, help="kill -9 of the leader under load")
    _add(names, "engine", "the pure engine alone: tasks, compiling, adding dependencies", tasks=1_000, repeats=3)
    auction = _add(names, "auction", "awards: how far above the linear bound, how fast; a line per type and size", repeats=3)
    auction.set_defaults(floors=False)  # No disk and no network are in it.
    return parser


def _add(
    names: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    *,
    runs: int = 0,
    tasks: int = 0,
    effect: bool = False,
    repeats: int = 0,
    capacity: int = 256,
) -> argparse.ArgumentParser:
    parser = names.add_parser(name, help=text, description=text)
    if runs:
        parser.add_argument("--runs", type=positive, default=runs)
    if tasks:
        parser.add_argument("--tasks", type=positive, default=tasks, help="of each run")
    if effect:
        parser.add_argument("--effect", choices=EFFECTS, default="", help="only this one; default: both")
    if repeats:
        parser.add_argument("--repeats", type=positive, default=repeats, help="the median is printed")
    parser.add_argument("--agents", type=positive, default=1, help="all in one process")
    parser.add_argument("--capacity", type=positive, default=capacity, help="of each agent")
    parser.add_argument("--data", type=Path, help="a directory on the disk to measure on")
    parser.add_argument("--no-ray", dest="ray", action="store_false", help="plain processes instead of Ray actors")
    parser.add_argument("--no-floors", dest="floors", action="store_false", help="leave out what the bare machine does")
    return parser


def counted(text: str) -> int:
    """A whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return number


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number
