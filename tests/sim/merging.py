"""Documents of several writers in a seed's story: cloud and sites write at once while everything breaks, and clocks are wrong.

While it is told: who has seen a write stands over it, a clock too far ahead wins nothing, and of a bounded sum no more is spent
than there is. In the end all nodes hold the same bytes, and no acknowledged write is lost: somebody who had seen it wrote
otherwise, or it is shown, or it is on record as what lost.
"""

import asyncio
from random import Random
from typing import Any, NamedTuple

import msgspec

from cloud.driver import CloudConfig, GlobalPlanner
from cloud.ports.driver import CloudPorts
from sync.clock import AHEAD_MS_MAX, wall_ms
from sync.commit import Row
from sync.documents.book import ANY_VERSION
from sync.documents.events import EditRefused
from sync.documents.inputs import EditDocument
from sync.documents.terms import Terms
from sync.levels import EVENTUAL
from sync.merging import escrow
from sync.merging.book import MergeBook
from sync.merging.dots import Dot, covers
from sync.merging.events import DocumentWritten
from sync.merging.merged import Key, Merged
from sync.merging.rules import PARTED
from sync.values import StreamId, stream_reader, stream_writer
from sync.watching.unseen import Watched
from tests.sim.documents import NOBODY_KNOWS, DocumentWorld, NotDone
from tests.sim.oracle import Broke
from tests.sim.plan import DURATION_S, Plan, Step, draw_plan
from tests.sim.process import Process
from workflow.events import decode

RULES = (("done", "union"), ("progress", "max"), ("speed", "safety,run,slow,stop"), ("stock", "sum,min=0,max=60,share=10"))
DOCUMENTS = {
    "shared/latest": Terms(EVENTUAL, "lww", True),
    "shared/state": Terms(EVENTUAL, "semantic", True, (), RULES),
}
LOST, SEEN, AHEAD, SPENT, SAME, RECORDED, TOLD = (
    "no acknowledged write is lost",
    "who has seen a write stands over it",
    "a clock too far ahead wins nothing",
    "no more is spent than there is",
    "documents of several writers converge",
    "who loses is on record",
    "who watches is told of more each time",
)


class Acknowledged(NamedTuple):
    """A write that somebody was told of."""

    document: str
    edit: str


class ListeningCloud(GlobalPlanner):
    """Notes which writes of sites it has heard of with a stamp that is too far ahead."""

    world: "MergingWorld"

    def committed(self, rows: list[Row]) -> None:
        for row in rows:
            if row.kind == DocumentWritten.kind and stream_writer(StreamId(row.stream)) != "cloud":
                event = decode(row.kind, row.payload)
                assert isinstance(event, DocumentWritten)
                self.world.trace.note("merged_write_heard")
                if wall_ms(event.stamp) - self.loop.clock.now().wall_ms > AHEAD_MS_MAX:
                    self.world.ahead.add((event.document, event.dot))
                    self.world.trace.note("merged_write_ahead")
        super().committed(rows)


class MergingWorld(DocumentWorld):
    """The story of any plan, with documents of several writers beside its runs."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.acknowledged: list[Acknowledged] = []
        self.ahead: set[tuple[str, Dot]] = set()

    def make_cloud(self, config: CloudConfig, ports: CloudPorts) -> GlobalPlanner:
        cloud = ListeningCloud(config, ports)
        cloud.world = self
        return cloud

    # Clients ----------------------------------------------------------------------------------------------------------

    async def _client(self, where: str) -> None:
        chance = Random(f"{self.plan.seed}/merging/{where}")
        process: Process = self.cloud if where == "cloud" else self.sites[where]
        await asyncio.sleep(3.0)
        while where == "cloud" and any(self._book(process).get(name) is None for name in DOCUMENTS):
            for document, terms in DOCUMENTS.items():
                first = b'{"a":0}' if terms.resolver == "lww" else b'{"done":[],"speed":"run","stock":40}'
                await self._write(process, where, document, "put", first, terms)
            await asyncio.sleep(1.0)
        while self.loop.now_s < DURATION_S:
            await asyncio.sleep(chance.uniform(0.3, 3.0))
            if process.serving and self._book(process).get("shared/state") is not None:
                document, change = self._change(chance)
                await self._write(process, where, document, "merge", msgspec.json.encode(change), None)
            if where == "cloud" and process.serving:
                self.check(self._look)

    async def _follow(self, where: str, process: Process) -> None:
        """Who watches is told of a document again when more of it is known, which a judgement is, too; never of less."""
        node: Any = process.node  # type: ignore[attr-defined]
        told, states = self.told.setdefault(where, {}), dict[str, int]()
        told.clear()
        with node.feed.watch(Watched({}, ("",))) as watcher:
            while True:
                for news in await watcher.next():
                    self.trace.note("merged_watched")
                    if news.state <= states.get(news.document, 0) or news.version < told.get(news.document, 0):
                        self._fail(Broke(TOLD, f"at {where}: {news}"))
                    told[news.document], states[news.document] = news.version, news.state

    def _change(self, chance: Random) -> tuple[str, dict[str, object]]:
        self.numbers += 1
        if chance.random() < 0.4:
            return "shared/latest", {chance.choice("abc"): self.numbers if chance.random() < 0.9 else None}
        what = chance.choice(("done", "progress", "speed", "stock", "stock"))
        value: object = chance.randint(0, 1_000)
        if what == "done":
            value = sorted(chance.sample("stuvwxyz", chance.randint(0, 4)))
        elif what == "speed":
            value = chance.choice(("run", "slow", "stop"))
        elif what == "stock":
            value = {"add": chance.randint(-14, 8)}
        return "shared/state", {what: value}

    async def _write(
        self, process: Process, where: str, document: str, operation: str, value: bytes, terms: Terms | None
    ) -> None:
        self.numbers += 1
        node: Any = process.node  # type: ignore[attr-defined]
        asked = EditDocument(0, document, f"m{self.numbers}", operation, value, ANY_VERSION, where, terms)
        documents = node.documents if where == "cloud" else node.reads
        try:
            answer = await self._ask(process, documents.edit(asked, 1.0))
        except (NotDone, *NOBODY_KNOWS):
            self.trace.note("merged_not_written")
            return
        if isinstance(answer, EditRefused):
            self.trace.note(f"merged_refused_{answer.code}")
        else:
            self.trace.note("merged_written")
            self.acknowledged.append(Acknowledged(document, asked.edit))

    # What must hold ---------------------------------------------------------------------------------------------------

    def _book(self, process: Process) -> MergeBook:
        node: Any = getattr(process, "node", None)
        if node is None or not process.serving:
            return MergeBook(process.name)
        book = node.planner.merging.book if process is self.cloud else node.merging
        assert isinstance(book, MergeBook)
        return book

    def _look(self) -> None:
        """At what the cloud knows just now, and at what all nodes have spent."""
        book = self._book(self.cloud)
        for document, known in book.documents.items():
            for name in known.disputed():
                self._look_at(document, known, name)
        accounts = dict[str, escrow.Account]()
        for process in (self.cloud, *self.sites.values()):
            held = self._book(process).documents.get("shared/state", Merged())
            accounts = escrow.joined(accounts, escrow.accounts_of(held.parts("stock")))
        if accounts and (known_state := book.get("shared/state")) is not None:
            total = escrow.total(known_state.rule("stock"), accounts)
            if not 0 <= total <= 60:
                raise Broke(SPENT, f"the stock is {total}: {accounts}")

    def _look_at(self, document: str, known: Merged, name: str) -> None:
        self.trace.note("merged_dispute")
        siblings = [each.dot for each in known.siblings(Key(name))]
        for dot in siblings:
            if over := [other for other in siblings if covers(known.writes[other].context, dot)]:
                raise Broke(SEEN, f"{document} {name}: {dot} stands beside {over}, which had seen it")
        stands = known.outcome(name).stands
        if known.rule(name).kind == "lww" and (document, stands) in self.ahead:
            sober = [dot for dot in siblings if (document, dot) not in self.ahead]
            if sober:
                raise Broke(AHEAD, f"{document} {name}: {stands} stands over {sober}")

    async def _check_documents(self) -> None:
        self._look()
        books = {process.name: self._book(process) for process in (self.cloud, *self.sites.values())}
        for document in DOCUMENTS:
            states = {name: book.documents[document].state() for name, book in books.items()}
            if len(set(states.values())) > 1:
                vectors = {name: book.documents[document].vector for name, book in books.items()}
                raise Broke(SAME, f"{document}: {vectors}")
        written = self._written()
        known = {write.edit for write in written} | self.oracle.lost_edits
        if lost := [each for each in self.acknowledged if each.edit not in known]:
            raise Broke(LOST, f"{lost[:5]} are in no log")
        for write in written:
            self._account_for(write, [other for other in written if other.document == write.document], books["cloud"])

    def _check_watchers(self) -> None:
        """In the calm at the end everybody has been told all that is known."""
        for where, told in self.told.items():
            for document, known in self._book(self.cloud if where == "cloud" else self.sites[where]).documents.items():
                if told.get(document) != known.version:
                    raise Broke(TOLD, f"{document}: {known.version} at {where}, told {told.get(document)}")

    def _written(self) -> list[DocumentWritten]:
        """All writes that the cloud has, each from the stream of who wrote."""
        rows = [row for row in self.cloud.platter.rows if row.kind == DocumentWritten.kind]
        own = [row for row in rows if not stream_reader(StreamId(row.stream))]
        return [decode(row.kind, row.payload) for row in own]  # type: ignore[misc]

    def _account_for(self, write: DocumentWritten, others: list[DocumentWritten], book: MergeBook) -> None:
        known = book.documents[write.document]
        kept = {(each.name, each.part) for each in known.writes[write.dot].fields} if write.dot in known.writes else set()
        lost = {each.conflict.loses.ref for each in self.cloud.node.planner.conflicts.known.values()}
        for each in write.fields:
            later = [other for other in others if covers(other.context, write.dot)]
            is_over = any((each.name, each.part) in {(said.name, said.part) for said in other.fields} for other in later)
            if (each.name, each.part) not in kept and not is_over:
                raise Broke(LOST, f"{each} of {write.dot} in {write.document}")
            if each.part or known.rule(each.name).kind in PARTED or (each.name, each.part) not in kept:
                continue
            is_shown = known.outcome(each.name).value == each.value
            if not is_shown and str(write.dot) not in lost:
                raise Broke(RECORDED, f"{each} of {write.dot} in {write.document}")


def wrong_clocks(seed: int) -> Plan:
    """Few runs; sites that are cut off, killed and lose power, and whose clocks run an hour ahead while they are cut off."""
    chance = Random(f"{seed}/wrong clocks")
    steps = [step for step in draw_plan(seed, commands=10).steps if not step.is_fault]
    for number, at_s in enumerate(range(20, 560, 30)):
        steps.append(Step(at_s, "cut", number, 0.9, chance.uniform(5.0, 25.0)))
        if number % 3 == 0:
            steps.append(Step(at_s + 0.5, "clock_far_ahead", number, 0.9, 4.0))
        what = chance.choice(("kill_site", "kill_cloud", "power_site", "power_cloud", "disk_fail", "loss", "old_copy"))
        steps.append(Step(at_s + chance.uniform(0.0, 25.0), what, chance.randrange(1 << 16), chance.random(), 5.0))
    return Plan(seed, tuple(sorted(steps)))
