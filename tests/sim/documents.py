"""Documents in a seed's story: clients at the cloud and at the sites put, compare-and-set and read them while everything breaks.

Of strong documents the whole history is kept, and must be linearizable; reads of a bounded one are held against the true versions
at the true time; in the end all replicas are what their homes are.
"""

import asyncio
from collections.abc import Coroutine
from math import inf
from random import Random
from typing import Any, NamedTuple

from cloud.driver import CloudConfig, GlobalPlanner
from cloud.port import Problem
from cloud.ports.driver import CloudPorts
from edge.driver import EdgeConfig, EdgeNode
from edge.ports.driver import EdgePorts
from sync.actors import InboxFull
from sync.commit import Row
from sync.documents.book import ANY_VERSION
from sync.documents.events import DocumentChanged, EditRefused
from sync.documents.ids import home_of
from sync.documents.inputs import EditDocument
from sync.documents.reading import OutcomeUnknown, StalenessExceeded, Unavailable
from sync.documents.terms import Terms
from sync.driver import StreamRecovered
from sync.levels import Level
from sync.log_errors import LogError
from sync.values import stream_reader
from sync.watching.unseen import Watched
from tests.sim.checkers.linearizability import Operation, broken_key
from tests.sim.checkers.staleness import Read, Truth
from tests.sim.oracle import Broke
from tests.sim.plan import DURATION_S, Plan
from tests.sim.process import Process
from tests.sim.world import World
from workflow.events import decode

STRONG = {name: Terms(Level("strong")) for name in ("shared/strict", "site/harbour/strict")}
BOUNDED = {
    "shared/near": Terms(Level("bounded", 2, 3_000)),
    "shared/few": Terms(Level("bounded", 2)),
    "shared/young": Terms(Level("bounded", 0, 2_000)),
    "site/harbour/near": Terms(Level("bounded", 2, 3_000)),
    "site/airport/few": Terms(Level("bounded", 2)),
    "site/harbour/young": Terms(Level("bounded", 0, 2_000)),
}
LOOSE = ("shared/loose", "site/harbour/loose", "site/airport/loose")
WAIT_S = 2.0
OPERATIONS_MAX = 280
NOBODY_KNOWS = (LogError, InboxFull, StreamRecovered, OutcomeUnknown)


class Known(NamedTuple):
    """What a document is."""

    version: int = 0
    value: bytes = b""


class NotDone(Exception):
    """It was refused, and nothing of it was recorded."""


def document_step(state: Known, operation: Operation) -> tuple[bool, Known]:
    """A document with versions: ("put", expected, value) is answered by its version (0: refused, another one was found), a
    ("get",) by what it is."""
    what, *more = operation.argument
    is_open = operation.ret == inf
    if what == "get":
        return is_open or operation.answer == state, state
    expected, value = more
    if expected not in (ANY_VERSION, state.version):
        return is_open or operation.answer == 0, state
    after = Known(state.version + 1, value)
    return is_open or operation.answer == after.version, after


class WatchedCloud(GlobalPlanner):
    """Tells the world each version that becomes true."""

    world: "DocumentWorld"

    def committed(self, rows: list[Row]) -> None:
        for event in changes_in(rows):
            if home_of(event.document) == "cloud":
                self.world.became(event.document, event.version)
        super().committed(rows)


class WatchedEdge(EdgeNode):
    """Tells the world each version of its own documents that becomes true."""

    world: "DocumentWorld"

    def committed(self, rows: list[Row]) -> None:
        for event in changes_in(rows):
            if home_of(event.document) == self.config.site:
                self.world.became(event.document, event.version)
        super().committed(rows)


def changes_in(rows: list[Row]) -> list[DocumentChanged]:
    """The versions that home streams bring; copies for sites are none."""
    own = (row for row in rows if row.kind == DocumentChanged.kind and not stream_reader(row.stream))
    return [event for row in own if isinstance(event := decode(row.kind, row.payload), DocumentChanged)]


class DocumentWorld(World):
    """The story of any plan, with documents beside its runs."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.history: list[Operation] = []
        self.truth = Truth()
        self.reads = 0
        self.numbers = 0
        self.counting: dict[str, int] = {}
        self.counted = 0
        self.told: dict[str, dict[str, int]] = {}

    def make_cloud(self, config: CloudConfig, ports: CloudPorts) -> GlobalPlanner:
        cloud = WatchedCloud(config, ports)
        cloud.world = self
        return cloud

    def make_edge(self, config: EdgeConfig, ports: EdgePorts) -> EdgeNode:
        edge = WatchedEdge(config, ports)
        edge.world = self
        return edge

    def counts(self, document: str, version: int) -> bool:
        """Does the cloud hold the version, or has it ever? What its disk has it has, whatever became of who wrote that."""
        rows = self.cloud.platter.rows
        for event in changes_in(rows[self.counted if self.counted <= len(rows) else 0 :]):
            self.counting[event.document] = max(event.version, self.counting.get(event.document, 0))
        self.counted = len(rows)
        return version <= self.counting.get(document, 0)

    def became(self, document: str, version: int) -> None:
        """The version is true from now on, and so are all before it."""
        while len(self.truth.times.get(document, ())) < version:
            self.truth.wrote(document, self.loop.now_s)

    async def _story(self) -> None:
        nodes = ("cloud", *self.sites)
        clients = [asyncio.ensure_future(self._client(name)) for name in nodes]
        watchers = [asyncio.ensure_future(self._watch_all(name)) for name in nodes]
        try:
            await super()._story()
            for client in clients:
                client.cancel()
            await self._check_documents()
            self._check_watchers()
        finally:
            for task in (*clients, *watchers):
                task.cancel()

    # Clients ----------------------------------------------------------------------------------------------------------

    async def _client(self, where: str) -> None:
        chance = Random(f"{self.plan.seed}/documents/{where}")
        process: Process = self.cloud if where == "cloud" else self.sites[where]
        await asyncio.sleep(5.0)
        while self.loop.now_s < DURATION_S:
            await asyncio.sleep(chance.uniform(0.5, 3.0))
            if process.serving:
                await self._act(where, process, chance)

    async def _watch_all(self, where: str) -> None:
        """Somebody watches all documents at the node, each time it is there again."""
        process: Process = self.cloud if where == "cloud" else self.sites[where]
        while True:
            if process.serving:
                await asyncio.wait((process.spawn(self._follow(where, process)),))
            await asyncio.sleep(0.5)

    async def _follow(self, where: str, process: Process) -> None:
        node: Any = process.node  # type: ignore[attr-defined]
        told = self.told[where] = {}
        with node.feed.watch(Watched({}, ("",))) as watcher:
            while True:
                for news in await watcher.next():
                    self.trace.note("document_watched")
                    if news.version <= told.get(news.document, 0):
                        self._fail(Broke("who watches is told each version once", f"at {where}: {news}"))
                    if news.document in STRONG and not self.counts(news.document, news.version):
                        self._fail(Broke("who watches is shown what counts", f"at {where}: {news}"))
                    told[news.document] = news.version

    async def _act(self, where: str, process: Process, chance: Random) -> None:
        what = chance.random()
        if what < 0.5:
            document = chance.choice([name for name in STRONG if home_of(name) in ("cloud", where) or where == "cloud"])
            await self._strong(where, process, document, chance)
        elif what < 0.9:
            own = [name for name in sorted(BOUNDED) if home_of(name) == where]
            read = [name for name in sorted(BOUNDED) if home_of(name) != where and "cloud" in (home_of(name), where)]
            if chance.random() < (0.5 if where == "cloud" else 0.3):
                document = chance.choice(own)
                for _ in range(chance.randint(1, 4)):
                    await self._put(where, process, document, ANY_VERSION, BOUNDED[document])
            else:
                await self._near(process, where, chance.choice(read))
        else:
            loose = [name for name in LOOSE if home_of(name) in ("cloud", where) or where == "cloud"]
            await self._put(where, process, chance.choice(loose), ANY_VERSION, Terms())

    async def _strong(self, where: str, process: Process, document: str, chance: Random) -> None:
        if sum(operation.key == document for operation in self.history) >= OPERATIONS_MAX:
            return
        called, kind = self.loop.now_s, chance.random()
        if kind < 0.5:
            seen = await self._get(where, process, document)
            if seen is not None:
                self._saw(document, called, ("get",), seen)
            return
        expected = ANY_VERSION
        if kind > 0.75:
            node: Any = process.node  # type: ignore[attr-defined]
            book = node.planner.documents.book if where == "cloud" else node.book
            expected = book.get(document).version
        number, answer = await self._put(where, process, document, expected, STRONG[document])
        if answer is not None:
            self.history.append(
                Operation(called, inf if answer < 0 else self.loop.now_s, ("put", expected, number), answer, document)
            )

    def _saw(self, document: str, called: float, argument: Any, answer: Any) -> None:
        self.history.append(Operation(called, self.loop.now_s, argument, answer, document))

    async def _near(self, process: Process, where: str, document: str) -> None:
        begun_s, level = self.loop.now_s, BOUNDED[document].level
        seen = await self._get(where, process, document)
        if seen is None:
            return
        self.reads += 1
        self.became(document, seen.version)
        if wrong := self.truth.judge(Read(document, seen.version, begun_s, level.versions, level.time_ms / 1000)):
            self._fail(Broke("bounded reads are inside their bounds", f"at {where}: {wrong}"))

    async def _get(self, where: str, process: Process, document: str) -> Known | None:
        node: Any = process.node  # type: ignore[attr-defined]
        reads = node.documents if where == "cloud" else node.reads
        try:
            shown = await self._ask(process, reads.get(document, wait_s=WAIT_S))
        except (NotDone, *NOBODY_KNOWS):
            self.trace.note("document_not_read")
            return None
        if shown.degraded:
            return None
        self.trace.note("document_read")
        return Known(shown.version, shown.value)

    async def _put(self, where: str, process: Process, document: str, expected: int, terms: Terms) -> tuple[bytes, int | None]:
        """The value, and the version that it got: 0 if it was refused for another version, -1 if nobody knows, None: not done."""
        self.numbers += 1
        value, node = b"%d" % self.numbers, process.node  # type: ignore[attr-defined]
        said = (0, document, f"d{self.numbers}", "put", value, expected, where, terms)
        at_cloud = where == "cloud"
        asking = node.documents.edit(EditDocument(*said), WAIT_S) if at_cloud else node.reads.edit(EditDocument(*said), WAIT_S)
        try:
            answer = await self._ask(process, asking)
        except NotDone:
            self.trace.note("document_not_put")
            return value, None
        except NOBODY_KNOWS:
            self.trace.note("document_outcome_unknown")
            return value, -1
        self.trace.note("document_put")
        if isinstance(answer, EditRefused):
            return value, 0
        if where == "cloud" and not answer.version:
            decided = node.planner.documents.book.answer(document, answer.edit)
            return value, decided if isinstance(decided, int) else 0 if decided is not None else -1
        version = answer.version if where == "cloud" else answer
        return value, version if isinstance(version, int) else -1

    async def _ask(self, process: Process, question: Coroutine[Any, Any, Any]) -> Any:
        """Ask a node that may die meanwhile: then nobody knows. Raises NotDone, and NOBODY_KNOWS."""
        task = process.spawn(question)
        await asyncio.wait((task,))
        if task.cancelled():
            raise InboxFull(0)
        error = task.exception()
        if isinstance(error, Problem):
            if error.code == "version_conflict":
                return EditRefused("", "", error.code, "", 0)
            if error.code == "outcome_unknown":
                raise OutcomeUnknown("", "", "")
            raise NotDone from error
        if isinstance(error, Unavailable | StalenessExceeded):
            raise NotDone from error
        if error is not None:
            raise error
        return task.result()

    def _check_watchers(self) -> None:
        """In the calm at the end everybody has been told the latest."""
        for where, told in self.told.items():
            process: Any = self.cloud if where == "cloud" else self.sites[where]
            book = process.node.planner.documents.book if where == "cloud" else process.node.book
            for document, known in book.documents.items():
                if told.get(document) != known.version:
                    what = f"{document}: {known.version} at {where}, told {told.get(document)}"
                    raise Broke("who watches is told the latest", what)

    # What must hold ---------------------------------------------------------------------------------------------------

    async def _check_documents(self) -> None:
        if key := broken_key(Known(), document_step, self.history):
            told = sorted(operation for operation in self.history if operation.key == key)
            raise Broke("strong documents are linearizable", f"{key}: {told[-40:]}")
        cloud = self.cloud.node.planner.documents.book
        for name, site in self.sites.items():
            book = site.node.book
            if book.pending:
                raise Broke("every edit is decided", f"{name} waits for {sorted(book.pending)}")
            for document in {*cloud.documents, *book.documents}:
                if home_of(document) in ("cloud", name):
                    here, there = cloud.get(document), book.get(document)
                    if (here.version, here.value, here.terms) != (there.version, there.value, there.terms):
                        raise Broke("documents converge", f"{document}: {here.version} at the cloud, {there.version} at {name}")
        if cloud.pending:
            raise Broke("every edit is decided", f"the cloud waits for {sorted(cloud.pending)}")
        for operation in self.history:
            if operation.argument[0] == "put" and operation.ret != inf and operation.answer > cloud.get(operation.key).version:
                raise Broke("no acknowledged put is lost", f"{operation}")
