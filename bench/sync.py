"""The link: catching up, strong commits, going on after a cut. Cloud and site are two processes with one connection."""

import asyncio
import contextlib
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from bench import document_rebase, rebase
from bench.disk import real_directory, scratch
from bench.errors import BenchFailed
from bench.latency import percentile
from bench.notes import Node, Site, like_a_node, serve_cloud
from bench.options import Options
from bench.processes import resident_mb
from bench.system import note
from deploy.proxy import CuttingProxy

IN_FLIGHT = 64
BATCH = 500
PATIENCE_S = 600.0
CUT_S_MIN, CUT_S_MAX = 1.0, 14.0
LOOK_S = 0.005
SEED = 20061126


class System(NamedTuple):
    """Both ends: the site in this process, the cloud's process, and the proxy between them."""

    site: Site
    node: Node
    cloud_pid: int
    proxy: CuttingProxy


def measure(options: Options) -> dict[str, object]:
    """`catchup_events_per_s`: events of a site that the cloud had none of, until the last is acknowledged; `catchup_rss_mb`: by
    how much the larger of the two processes grew on it. `strong_commits_per_s`: with 64 in flight; `strong_p50_ms`: with one. A
    commit is strong when it is durable at its home and at the cloud and its home knows. `resume_s`: the longest time from the
    heal of a silent cut until an event that waited is acknowledged. `rebase_s`: 10,000 pending edits over 1,000 of others, and
    `document_rebase_s`: the same through a document, with its values and conflicts."""
    like_a_node()
    with scratch(real_directory(options.data)) as directory:
        catchup = asyncio.run(catch_up(directory / "catchup", options.events))
        strong = asyncio.run(commit(directory / "strong", options.commits))
        resume_s = asyncio.run(resume(directory / "resume", options.repeats, CUT_S_MAX))
    figures: dict[str, object] = {**catchup, **strong, "resume_s": round(resume_s, 3)}
    figures["rebase_s"] = round(rebase.measure(), 3)
    figures["document_rebase_s"] = round(document_rebase.measure(), 3)
    settings = {"events": options.events, "commits": options.commits, "in_flight": IN_FLIGHT, "cuts": options.repeats}
    return {**figures, "settings": settings}


@asynccontextmanager
async def _system(directory: Path) -> AsyncIterator[System]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    cloud = context.Process(target=serve_cloud, args=(directory / "cloud", theirs), daemon=True)
    cloud.start()
    try:
        if not await asyncio.to_thread(ours.poll, 60):
            raise BenchFailed("the cloud's process does not start")
        with CuttingProxy(f"127.0.0.1:{(port := ours.recv())}") as proxy:
            site = Site(directory / "site", f"127.0.0.1:{port}")
            assert cloud.pid is not None
            yield System(site, site.node, cloud.pid, proxy)
            await site.node.close()
    finally:
        with contextlib.suppress(OSError):
            ours.send("end")
        await asyncio.to_thread(cloud.join, 10)
        if cloud.is_alive():
            cloud.kill()


@asynccontextmanager
async def _linked(system: System) -> AsyncIterator[None]:
    keeping = asyncio.ensure_future(system.site.keep_link())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _acked(system: System, seq: int) -> float:
    """When the cloud was known to hold so much (of the performance counter)."""
    deadline = time.perf_counter() + PATIENCE_S
    while system.node.acked("cloud") < seq:
        if time.perf_counter() > deadline:
            raise BenchFailed(f"of {seq} events the cloud has acknowledged {system.node.acked('cloud')} after {PATIENCE_S:.0f} s")
        await asyncio.sleep(LOOK_S)
    return time.perf_counter()


async def catch_up(directory: Path, events: int) -> dict[str, float]:
    """A cloud without any events meets a site with many."""
    async with _system(directory) as system:
        for start in range(0, events, BATCH):
            await system.node.write(min(BATCH, events - start))
        pids = os.getpid(), system.cloud_pid
        before = [resident_mb([pid]) for pid in pids]
        watching = asyncio.ensure_future(_watch(pids, before))
        begin = time.perf_counter()
        async with _linked(system):
            seconds = await _acked(system, events) - begin
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        note(f"caught up with {events} events in {seconds:.2f} s")
        grown = max(now - then for now, then in zip(_LARGEST, before, strict=True))
        return {"catchup_events_per_s": round(events / seconds), "catchup_rss_mb": round(grown, 1)}


_LARGEST: list[float] = []


async def _watch(pids: tuple[int, ...], before: list[float]) -> None:
    _LARGEST[:] = before
    while True:
        _LARGEST[:] = [max(known, resident_mb([pid])) for known, pid in zip(_LARGEST, pids, strict=True)]
        await asyncio.sleep(0.1)


async def commit(directory: Path, commits: int) -> dict[str, float]:
    """Strong commits, first one by one, then 64 at a time."""
    async with _system(directory) as system, _linked(system):
        await system.node.write(1, strong=True)
        alone: list[float] = []
        for _ in range(max(100, commits // 20)):
            begin = time.perf_counter()
            await system.node.write(1, strong=True)
            alone.append((time.perf_counter() - begin) * 1000)
        left = iter(range(commits))

        async def worker() -> None:
            for _ in left:
                await system.node.write(1, strong=True)

        begin = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
        seconds = time.perf_counter() - begin
        note(f"strong commits, one in flight: p50 {statistics.median(alone):.3f} ms, p99 {percentile(alone, 99):.3f} ms")
        return {"strong_commits_per_s": round(commits / seconds), "strong_p50_ms": round(statistics.median(alone), 3)}


async def resume(directory: Path, cuts: int, cut_s_max: float) -> float:
    """The longest time from a heal to an acknowledged event, after silent cuts of 1 to `cut_s_max` seconds."""
    chance, longest = random.Random(SEED), 0.0
    async with _system(directory) as system:
        system.site.redial(system.proxy.address)
        async with _linked(system):
            await system.node.write(1, strong=True)
            for number in range(cuts):
                await asyncio.to_thread(system.proxy.cut, silent=True)
                await system.node.write(10)
                cut_s = CUT_S_MIN + (cut_s_max - CUT_S_MIN) * (number + chance.random()) / cuts
                await asyncio.sleep(cut_s)
                begin = time.perf_counter()
                await asyncio.to_thread(system.proxy.heal)
                took_s = await _acked(system, 11 + 10 * number) - begin
                note(f"cut for {cut_s:.1f} s: going on after {took_s:.3f} s")
                longest = max(longest, took_s)
    return longest
