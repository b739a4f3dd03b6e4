"""A site of three boxes, a cloud and an agent, each a process of its own: how long is nothing given out when the box that leads
is killed?

The agent always has more to do than it can take at once. After each kill -9 it is measured when it begins the next task that it
did not have in its hands, which another box has given it: in between lie noticing that the leader is gone, an election, folding
the log and the way of the agent to the new leader. In the end each task must have been done once, and have completed.
"""

import asyncio
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from bench.definitions import chain
from bench.disk import real_directory, scratch
from bench.errors import BenchFailed
from bench.latency import percentile
from bench.options import Options
from bench.system import note
from tiercel import Agent, TaskContext
from tiercel.answers import ApiError, RunRequest, ServerUnreachable
from tiercel.client import Client
from tiercel.v1 import members_pb2, members_pb2_grpc

SITE, NAMES = "harbour", ("a", "b", "c")
PROGRAM = (sys.executable, "-c", "from tiercel.cli.main import main; main()")
CAPACITY, TASK_S, TASKS, RUNS_AT_ONCE = 4, 0.005, 20, 50
BEFORE_KILL_S = (0.5, 1.5)
LEFT_MIN = 3_000
"""So many tasks are there before a kill: more than are done until the next one."""
LOOK_S, WAIT_S = 0.02, 60.0


@dataclass(slots=True)
class Site:
    """The processes, and what the agent has begun: (task's key, monotonic seconds)."""

    place: Path
    run_dir: Path
    ports: list[int]
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    begun: list[tuple[str, float]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    @property
    def gateways(self) -> dict[str, str]:
        """Where the agent finds each box."""
        return {name: f"127.0.0.1:{port}" for name, port in zip(NAMES, self.ports[5:], strict=True)}

    def start_cloud(self) -> None:
        """The cloud, which hands out the runs."""
        listen = ("--api", f"127.0.0.1:{self.ports[0]}", "--listen", f"127.0.0.1:{self.ports[1]}")
        self._start("cloud", "cloud", *listen, "--data", str(self.place / "cloud"))

    def start(self, name: str) -> None:
        """One box, from what is on its disk."""
        peers = ",".join(f"{each}=127.0.0.1:{port}" for each, port in zip(NAMES, self.ports[2:5], strict=True))
        of_site = ("--site", SITE, "--node", name, "--peers", peers, "--listen", self.gateways[name])
        places = ("--data", str(self.place / name), "--run-dir", str(self.run_dir), "--cloud", f"127.0.0.1:{self.ports[1]}")
        self._start(name, "edge", "start", *of_site, *places)

    def _start(self, name: str, *words: str) -> None:
        with (self.place / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen([*PROGRAM, *words], stdout=log, stderr=log)

    def members(self, name: str) -> dict[str, Any]:
        """The group as one box sees it; {} if it does not answer."""
        with grpc.insecure_channel(f"unix:{self.run_dir / f'{SITE}-{name}.sock'}") as channel:
            try:
                reply = members_pb2_grpc.GroupAdminStub(channel).Members(members_pb2.MemberQuery(), timeout=1.0)
            except grpc.RpcError:
                return {}
        found: dict[str, Any] = json.loads(reply.json)
        return found

    def whole(self) -> str:
        """The leader, once all boxes have met and lack nothing."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            for seen in map(self.members, NAMES):
                if seen and seen["role"] == "leader" and all(m["here"] and m["lag"] < 64 for m in seen["members"]):
                    return str(seen["node"])
            time.sleep(LOOK_S)
        raise BenchFailed(f"the boxes have not met within {WAIT_S:g} s: {list(map(self.members, NAMES))}")

    def more(self, client: Client, name: str) -> None:
        """As much as the agent has for some seconds."""
        batch: list[RunRequest] = [{} for _ in range(RUNS_AT_ONCE)]
        key = f"more-{len(self.runs)}"
        self.runs += [item["id"] for item in patiently(lambda: client.start_batch(name, batch, idempotency_key=key))]

    @property
    def left(self) -> int:
        """Tasks that are still to be begun."""
        return len(self.runs) * TASKS - len(self.begun)


def measure(options: Options) -> dict[str, object]:
    """`work_p50_ms` and so on: from a kill -9 to the next task that is given out. `lost`, `twice`: tasks."""
    with scratch(real_directory(options.data)) as place, running(place) as site:
        client = Client(f"http://127.0.0.1:{site.ports[0]}")
        document = chain(TASKS, "bench.tick", "once")
        patiently(lambda: client.register(json.dumps(document)))
        site.more(client, document["name"])
        chance, gaps = random.Random(1), list[float]()
        for number in range(options.kills):
            site.whole()
            while site.left < LEFT_MIN:
                site.more(client, document["name"])
            time.sleep(chance.uniform(*BEFORE_KILL_S))
            gaps.append(kill_leader(site))
            note(f"kill {number + 1}: {gaps[-1]:.0f} ms")
        states = Counter(end_of(client, run) for run in site.runs)
        counts = Counter(key for key, _ in site.begun)
        lost = len(site.runs) * TASKS - len(counts)
        ended = states.total() - states["completed"]
        figures: dict[str, object] = {"kills": len(gaps), "tasks": len(counts), "lost": lost, "not_completed": ended}
        figures["twice"] = sum(1 for count in counts.values() if count > 1)
        if gaps:
            measured = statistics.median(gaps), percentile(gaps, 99), max(gaps)
            figures |= {f"work_{name}_ms": round(each) for name, each in zip(("p50", "p99", "max"), measured, strict=True)}
        return {**figures, "settings": {"boxes": len(NAMES), "capacity": CAPACITY, "task_ms": TASK_S * 1_000}}


def kill_leader(site: Site) -> float:
    """kill -9; milliseconds until a task begins that was not in the agent's hands. The dead box is started anew."""
    name = site.whole()
    process = site.processes[name]
    known = {key for key, _ in site.begun}
    killed_s = time.monotonic()
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What the agent had been given, it goes on with: a task of the next leader is one beyond those.
    held = CAPACITY
    until = time.monotonic() + WAIT_S
    while True:
        fresh = [at_s for key, at_s in list(site.begun) if key not in known and at_s > killed_s]
        if len(fresh) > held:
            break
        if time.monotonic() > until:
            raise BenchFailed(f"nothing was given out within {WAIT_S:g} s after {name} was killed")
        time.sleep(LOOK_S / 4)
    site.start(name)
    return (fresh[held] - killed_s) * 1_000


def end_of(client: Client, run: str) -> str:
    """How a run ended."""
    until = time.monotonic() + WAIT_S
    while (state := patiently(lambda: client.run(run, wait_s=5.0))["run"]["state"]) in ("pending", "active"):
        if time.monotonic() > until:
            break
    return str(state)


def patiently(ask: Any) -> Any:
    """Ask again while the cloud is not there, or has no link to the site."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return ask()
        except (ServerUnreachable, ApiError) as error:
            if time.monotonic() > until or (isinstance(error, ApiError) and error.status != 503):
                raise BenchFailed(str(error)) from error
        time.sleep(LOOK_S)


@contextmanager
def running(place: Path) -> Iterator[Site]:
    """All processes, and the agent in a thread of this one."""
    run_dir = Path(tempfile.mkdtemp(prefix="tcl-", dir="/tmp"))
    site = Site(place, run_dir, free_ports(8))
    stopping = threading.Event()
    worker = threading.Thread(target=lambda: asyncio.run(work(site, stopping)), daemon=True)
    try:
        site.start_cloud()
        for name in NAMES:
            site.start(name)
        worker.start()
        site.whole()
        yield site
    finally:
        stopping.set()
        worker.join(10)
        for process in site.processes.values():
            process.kill()
            process.wait()
        with suppress(OSError):
            for left in run_dir.iterdir():
                left.unlink()
            run_dir.rmdir()


async def work(site: Site, stopping: threading.Event) -> None:
    """The agent."""
    agent = Agent("ticker", capacity=CAPACITY, journal=site.place / "ticker.journal")

    @agent.capability("bench.tick")
    async def tick(task: TaskContext) -> int:
        site.begun.append((task.idempotency_key, time.monotonic()))
        await asyncio.sleep(TASK_S)
        return len(site.begun)

    serving = asyncio.ensure_future(agent.serve(",".join(site.gateways.values())))
    await asyncio.to_thread(stopping.wait)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
