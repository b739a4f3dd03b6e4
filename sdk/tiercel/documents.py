"""Documents of the site: JSON values with versions that agents, operators and other sites share.

    async def count(order: str, context: TaskContext) -> int:
        stock = await context.documents.get("site/harbour/stock")
        await context.documents.patch("site/harbour/stock", {"picked": stock.value["picked"] + 1}, expected=stock.version)

The site answers while it is cut off from the cloud, as far as a document's level lets it. In functions that run in a thread use
`context.documents.blocking`, which has the same methods without `await`.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc

from tiercel.channel import ChannelEnded, telling_ends
from tiercel.document_watching import Watch
from tiercel.errors import DocumentRefused, DocumentStale, DocumentUnavailable, DocumentUnknown
from tiercel.one_document import OneBlockingDocument, OneDocument
from tiercel.v1 import document_pb2, document_pb2_grpc, sync_point_pb2_grpc

WAIT_S = 2.0
GRACE_S = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """A document as the site shows it. `value` is None, and `version` counts on, if there is none (any more).

    `source`: "home", "cloud" or "replica"; `staleness_ms` and `versions_behind` say how far it may be behind, -1: nobody knows.
    `pending`: so many edits wait for its home. `degraded`: it is outside what was asked for.
    `gap`: of one that is watched, versions before this one were left out. `merging`: of a document of several writers what stands
    beside its value, and the `context` that says what of it is known here.
    """

    id: str
    version: int
    value: Any
    exists: bool
    author: str
    changed_at_ms: int
    source: str
    as_of_ms: int
    staleness_ms: int
    versions_behind: int
    pending: int
    degraded: bool
    gap: bool = False
    merging: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of an edit: the `version` that it made, or 0 while it is pending at a home that is away. `dot` says which write
    it is of a document of several writers."""

    edit: str
    version: int
    dot: str = ""

    @property
    def pending(self) -> bool:
        """Has its home not decided yet?"""
        return self.version == 0


class Channel:
    """The gateway's services for what runs share, on whatever channel the agent has just now."""

    def __init__(self) -> None:
        self.stub: document_pb2_grpc.DocumentServiceAsyncStub | None = None
        self.points: sync_point_pb2_grpc.SyncPointServiceAsyncStub | None = None
        self.boot = ""  # Of the agent's process, as it registers.
        self.waits = 0  # At sync points, in this process.
        self.site = ""  # Whose gateway it is, once that has said so.

    def use(self, channel: grpc.aio.Channel) -> None:
        self.stub = document_pb2_grpc.DocumentServiceStub(channel)
        self.points = sync_point_pb2_grpc.SyncPointServiceStub(channel)


class Documents:
    """The documents that an agent may read and edit. Edits have ids: `name/1`, `name/2`, ... with a `name`, as a task's have, so
    that an attempt that does the task again does not edit again; without one, ids of their own."""

    def __init__(self, channel: Channel, agent: str, loop: asyncio.AbstractEventLoop, name: str = "", run: str = "") -> None:
        self._channel, self._agent, self._loop, self._name, self._run = channel, agent, loop, name, run
        self._count = 0

    @property
    def blocking(self) -> "BlockingDocuments":
        """The same for functions that run in a thread."""
        return BlockingDocuments(self, self._loop)

    def run(self, name: str, run: str = "") -> OneDocument:
        """What the tasks of this run (or of another at the site) share under this name: it lives and moves with the run."""
        if not (run := run or self._run):
            raise DocumentRefused(f"{name}: of which run? allowed: in a task, or with its id", code="run_unknown")
        return OneDocument(self, f"run/{run}/{name}")

    def agent(self, name: str, agent: str = "") -> OneDocument:
        """What this agent (or another of the site, to read it) has written down of itself under this name."""
        if not self._channel.site:
            raise DocumentUnavailable(f"{name}: not connected to a gateway yet", code="unavailable")
        return OneDocument(self, f"agent/{self._channel.site}/{agent or self._agent}/{name}")

    async def get(
        self,
        document: str,
        *,
        consistency: str = "",
        max_staleness_s: float | None = None,
        min_version: int | None = None,
        degrade: bool = False,
        wait_s: float = WAIT_S,
    ) -> Document:
        """The document inside what is asked for and what its level promises. Raises DocumentStale and DocumentUnavailable."""
        query = document_pb2.DocumentQuery(
            agent=self._agent,
            document=document,
            consistency=consistency,
            staleness_ms_max=None if max_staleness_s is None else int(max_staleness_s * 1000),
            version_min=min_version,
            degrade=degrade,
            wait_ms=int(wait_s * 1000),
        )
        return _document((await self._ask("Get", query, wait_s, document)).shown)

    async def put(
        self,
        document: str,
        value: Any,
        *,
        expected: int | None = None,
        base: int | None = None,
        context: dict[str, int] | None = None,
        edit: str = "",
        wait_s: float = WAIT_S,
    ) -> Edited:
        """Give the document this value; with `expected` only over that version (0: only if there is none). `base` is the version
        that you have seen: what came since and is overwritten is kept as a conflict; `context` is the same of a document of
        several writers, as its `merging` has it: without it an edit has seen all that the site knows. Raises DocumentRefused,
        DocumentUnavailable (nothing was recorded) and DocumentUnknown (ask again under its `edit`)."""
        return await self._edit(document, "put", json.dumps(value).encode(), expected, base, context, edit, wait_s)

    async def patch(
        self,
        document: str,
        changes: dict[str, Any],
        *,
        expected: int | None = None,
        base: int | None = None,
        context: dict[str, int] | None = None,
        edit: str = "",
        wait_s: float = WAIT_S,
    ) -> Edited:
        """Replace members (JSON Merge Patch, RFC 7396); None removes one. `base` and what it raises: as `put`."""
        return await self._edit(document, "merge", json.dumps(changes).encode(), expected, base, context, edit, wait_s)

    async def edit(
        self,
        document: str,
        operations: Sequence[dict[str, Any]],
        *,
        expected: int | None = None,
        base: int | None = None,
        edit: str = "",
        wait_s: float = WAIT_S,
    ) -> Edited:
        """Do operations to a document that began with resolver "ot": `{"op": "put", "node": "/dock", "field": "n", "new": 2}`,
        inc, add_node, del_node, add_edge, del_edge, ins, rem, move, text. They are on top of the version `base` (without it: of
        what the site shows), and go behind what came since. Raises as `put`."""
        return await self._edit(document, "operations", json.dumps(list(operations)).encode(), expected, base, None, edit, wait_s)

    async def delete(
        self,
        document: str,
        *,
        expected: int | None = None,
        base: int | None = None,
        context: dict[str, int] | None = None,
        edit: str = "",
        wait_s: float = WAIT_S,
    ) -> Edited:
        """Take the document away. `base` and what it raises: as `put`."""
        return await self._edit(document, "delete", b"", expected, base, context, edit, wait_s)

    async def list(self, prefix: str = "") -> list[str]:
        """The ids of the documents that are known at the site and begin so."""
        answer = await self._call("List", document_pb2.DocumentPrefix(agent=self._agent, prefix=prefix), WAIT_S, prefix)
        return list(answer.documents)

    async def watch(
        self, document: str, *, from_version: int | None = None, wait_s: float | None = None
    ) -> AsyncGenerator[Document, None]:
        """Each version of the document as it comes, the present one first, or only those beyond `from_version`; of one that is
        deleted `exists` is false. An id that ends with a slash stands for all that begin so.

        It goes on after a reconnect. Who reads slowly is told the latest alone, with `gap`. Ends when nothing has come for
        `wait_s` seconds; without it never. Raises DocumentRefused.
        """
        watch = Watch(self._agent, document, {} if from_version is None else {document: from_version})
        async with aclosing(watch.news(lambda: self._channel.stub)) as news:
            while True:
                try:
                    async with asyncio.timeout(wait_s):
                        message = await anext(news)
                except TimeoutError:
                    return
                yield replace(_document(message.shown), gap=message.gap)

    async def _edit(
        self,
        document: str,
        operation: str,
        value: bytes,
        expected: int | None,
        base: int | None,
        context: dict[str, int] | None,
        edit: str,
        wait_s: float,
    ) -> Edited:
        self._count += 1
        edit = edit or (f"{self._name}/{self._count}" if self._name else uuid.uuid4().hex)
        request = document_pb2.DocumentEdit(
            agent=self._agent,
            document=document,
            edit=edit,
            operation=operation,
            value=value,
            version_expected=expected,
            version_base=base,
            context=json.dumps(context).encode() if context is not None else b"",
            wait_ms=int(wait_s * 1000),
        )
        answer = await self._ask("Edit", request, wait_s, document)
        return Edited(edit, answer.version, answer.dot)

    async def _ask(self, method: str, request: Any, wait_s: float, document: str) -> document_pb2.DocumentAnswer:
        answer: document_pb2.DocumentAnswer = await self._call(method, request, wait_s, document)
        if answer.HasField("refused"):
            raise _refusal(answer.refused)
        return answer

    async def _call(self, method: str, request: Any, wait_s: float, document: str) -> Any:
        if self._channel.stub is None:
            raise DocumentUnavailable(f"{document}: not connected to a gateway yet", code="unavailable")
        try:
            with telling_ends():
                return await getattr(self._channel.stub, method)(request, timeout=wait_s + GRACE_S)
        except ChannelEnded as error:
            # Whether an edit was recorded is not known here; asked again under its id, it has the one answer.
            raise _gateway_lost(method, f"{document}: {error}") from error
        except grpc.aio.AioRpcError as error:
            said = f"{document}: {error.details() or error.code().name.lower()}"
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise _gateway_lost(method, said) from error
            raise DocumentRefused(said, code=error.code().name.lower()) from error


def _gateway_lost(method: str, said: str) -> DocumentRefused:
    kind = DocumentUnknown if method == "Edit" else DocumentUnavailable
    return kind(said, code="gateway_lost")


class BlockingDocuments:
    """`Documents` for functions that run in a thread: the same methods, which wait."""

    def __init__(self, documents: Documents, loop: asyncio.AbstractEventLoop) -> None:
        self._documents, self._loop = documents, loop

    def get(self, document: str, **asked: Any) -> Document:
        """As `Documents.get`."""
        return self._wait(self._documents.get(document, **asked))

    def put(self, document: str, value: Any, **how: Any) -> Edited:
        """As `Documents.put`."""
        return self._wait(self._documents.put(document, value, **how))

    def patch(self, document: str, changes: dict[str, Any], **how: Any) -> Edited:
        """As `Documents.patch`."""
        return self._wait(self._documents.patch(document, changes, **how))

    def edit(self, document: str, operations: Sequence[dict[str, Any]], **how: Any) -> Edited:
        """As `Documents.edit`."""
        return self._wait(self._documents.edit(document, operations, **how))

    def delete(self, document: str, **how: Any) -> Edited:
        """As `Documents.delete`."""
        return self._wait(self._documents.delete(document, **how))

    def list(self, prefix: str = "") -> "list[str]":
        """As `Documents.list`."""
        return self._wait(self._documents.list(prefix))

    def watch(self, document: str, **how: Any) -> Iterator[Document]:
        """As `Documents.watch`; with `wait_s`, so that the thread comes back to look whether its attempt is cancelled."""
        told = self._documents.watch(document, **how)
        try:
            while (shown := self._wait(_next(told))) is not None:
                yield shown
        finally:
            self._wait(_close(told))

    def run(self, name: str, run: str = "") -> OneBlockingDocument:
        """As `Documents.run`."""
        return OneBlockingDocument(self, self._documents.run(name, run).id)

    def agent(self, name: str, agent: str = "") -> OneBlockingDocument:
        """As `Documents.agent`."""
        return OneBlockingDocument(self, self._documents.agent(name, agent).id)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _next(told: AsyncGenerator[Document, None]) -> Document | None:
    return await anext(told, None)


async def _close(told: AsyncGenerator[Document, None]) -> None:
    await told.aclose()


def _document(shown: document_pb2.DocumentShown) -> Document:
    return Document(
        shown.document,
        shown.version,
        json.loads(shown.value) if shown.value else None,
        bool(shown.value),
        shown.author,
        shown.changed_at_ms,
        shown.source,
        shown.as_of_ms,
        shown.staleness_ms,
        shown.versions_behind,
        shown.pending,
        shown.degraded,
        merging=json.loads(shown.merging) if shown.merging else None,
    )


def _refusal(refused: document_pb2.DocumentRefused) -> DocumentRefused:
    kinds = {"staleness_exceeded": DocumentStale, "unavailable": DocumentUnavailable, "outcome_unknown": DocumentUnknown}
    return kinds.get(refused.code, DocumentRefused)(refused.message, code=refused.code, version=refused.version)
