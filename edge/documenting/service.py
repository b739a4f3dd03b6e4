"""`DocumentService`: agents read and edit documents at their site, while it is cut off, too."""

from collections.abc import Callable
from typing import Any

import grpc
import msgspec

from edge.documenting.messages import shown_message
from edge.documenting.watching import news_message, watch_problem, watched_of
from edge.reading.service import SiteReads
from edge.watching.service import next_within
from sync.actors import InboxFull
from sync.documents.book import ANY_VERSION, VALUE_BYTES_MAX
from sync.documents.events import EditRefused
from sync.documents.ids import id_problem
from sync.documents.inputs import EditDocument
from sync.documents.owners import author_of
from sync.documents.reading import Asked, OutcomeUnknown, StalenessExceeded, Unavailable
from sync.watching.service import Feed, TooManyWatchers
from tiercel.v1 import document_pb2, document_pb2_grpc

WAIT_MS_MAX = 60_000
SESSION_LOOK_S = 5.0
EDIT_CHARACTERS_MAX = 200
NAMES_MAX = 10_000
CONSISTENCIES = ("", "strong", "bounded", "eventual")
OPERATIONS = ("put", "merge", "delete", "operations")


class DocumentServer(document_pb2_grpc.DocumentServiceServicer):
    """Answers agents that have a session at this site. `reads` gives what there is once the node serves; `wrong_with` says what a
    connection has against an agent of this name."""

    def __init__(
        self,
        site: str,
        reads: Callable[[], SiteReads | None],
        wrong_with: Callable[[Any, str], str],
        feed: Callable[[], Feed | None],
    ) -> None:
        self._site, self._reads, self._wrong_with, self._feed = site, reads, wrong_with, feed

    async def Get(self, request: document_pb2.DocumentQuery, context: Any) -> document_pb2.DocumentAnswer:  # noqa: N802
        """A document, inside what the query asks for."""
        reads = await self._admit(request.agent, request.document, context)
        if request.consistency not in CONSISTENCIES:
            wrong = f"consistency {request.consistency!r} is none; allowed: {', '.join(CONSISTENCIES[1:])}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong)
        staleness_ms = request.staleness_ms_max if request.HasField("staleness_ms_max") else -1
        version = request.version_min if request.HasField("version_min") else -1
        asked = Asked(request.consistency, staleness_ms, version, request.degrade)
        try:
            shown = await reads.get(request.document, asked, _wait_s(request.wait_ms))
        except (StalenessExceeded, Unavailable) as why:
            return _refused(*_code_of(why))
        return document_pb2.DocumentAnswer(shown=shown_message(shown))

    async def Edit(self, request: document_pb2.DocumentEdit, context: Any) -> document_pb2.DocumentAnswer:  # noqa: N802
        """Put, merge, delete, or operations; the answer is the version, that it is pending, or a refusal with its reason."""
        reads = await self._admit(request.agent, request.document, context)
        if wrong := _problem_of(request):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong)
        expected = request.version_expected if request.HasField("version_expected") else ANY_VERSION
        value = b"" if request.operation == "delete" else _canonical(request.value)
        base = request.version_base if request.HasField("version_base") else ANY_VERSION
        said = request.document, request.edit, request.operation, value, expected
        edit = EditDocument(0, *said, author_of(request.agent), base=base, context=_seen(request))
        try:
            decided = await reads.edit(edit, _wait_s(request.wait_ms))
        except (Unavailable, OutcomeUnknown) as why:
            return _refused(*_code_of(why))
        except InboxFull as full:
            return _refused("unavailable", str(full))
        if isinstance(decided, EditRefused):
            return _refused(decided.code, decided.reason, decided.version)
        if isinstance(decided, int):
            return document_pb2.DocumentAnswer(version=decided, dot=reads.dot_of(request.edit))
        return document_pb2.DocumentAnswer(pending=True)

    async def List(self, request: document_pb2.DocumentPrefix, context: Any) -> document_pb2.DocumentNames:  # noqa: N802
        """The ids of the documents that are known here and have a value, in order."""
        reads = await self._admit(request.agent, "", context)
        return document_pb2.DocumentNames(documents=reads.names(request.prefix)[:NAMES_MAX])

    async def Watch(self, request: document_pb2.DocumentWatch, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """What there is and what changes, until the agent ends it or its session has ended; written through the context."""
        reads, feed = await self._admit(request.agent, "", context), self._feed()
        assert feed is not None, "it is there with the reads"
        if wrong := watch_problem(request, self._site):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong)
        try:
            with feed.watch(watched_of(request)) as watcher:
                while not self._wrong_with(context, request.agent):
                    for news in await next_within(watcher, SESSION_LOOK_S):
                        await context.write(news_message(reads.look(news.document), news))
        except TooManyWatchers as full:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(full))
        await context.abort(grpc.StatusCode.UNAVAILABLE, f"agent {request.agent!r} has left site {self._site}: watch again")

    async def _admit(self, agent: str, document: str, context: Any) -> SiteReads:
        """Who asks, its connection says; and it works here."""
        if wrong := self._wrong_with(context, agent):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, wrong)
        if document and (wrong_id := id_problem(document)):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong_id)
        reads = self._reads()
        if reads is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"site {self._site} is not ready: try again shortly")
        assert reads is not None
        return reads


def _problem_of(request: document_pb2.DocumentEdit) -> str:
    if request.operation not in OPERATIONS:
        return f"operation {request.operation!r} is none; allowed: {', '.join(OPERATIONS)}"
    if not 1 <= len(request.edit) <= EDIT_CHARACTERS_MAX:
        return f"an edit has an id of 1 to {EDIT_CHARACTERS_MAX} characters, this one {len(request.edit)}"
    if len(request.value) > VALUE_BYTES_MAX:
        return f"a value has at most {VALUE_BYTES_MAX:,} bytes, this one {len(request.value):,}"
    try:
        _seen(request)
    except msgspec.DecodeError as error:
        return f"the context is no JSON object of writers and counters: {error}"
    if request.operation != "delete":
        try:
            _canonical(request.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return f"the value is not JSON: {error}"
    return ""


def _seen(request: document_pb2.DocumentEdit) -> dict[str, int] | None:
    """What the edit's maker had seen of a document of several writers; None: nobody says."""
    return _CONTEXT.decode(request.context) if request.context else None


_CONTEXT = msgspec.json.Decoder(dict[str, int])


def _canonical(value: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(value), order="sorted")


def _wait_s(wait_ms: int) -> float:
    return min(max(wait_ms, 0), WAIT_MS_MAX) / 1000


def _code_of(why: Exception) -> tuple[str, str]:
    match why:
        case StalenessExceeded():
            return "staleness_exceeded", str(why)
        case OutcomeUnknown():
            return "outcome_unknown", str(why)
        case _:
            return "unavailable", str(why)


def _refused(code: str, message: str, version: int = 0) -> document_pb2.DocumentAnswer:
    return document_pb2.DocumentAnswer(refused=document_pb2.DocumentRefused(code=code, message=message, version=version))
