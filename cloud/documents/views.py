"""Documents as the API shows them."""

import msgspec

from cloud.documents.core import CloudDocuments
from cloud.port import Problem
from cloud.views import LinkView
from sync.documents.events import EditProposed
from sync.documents.ids import CLOUD, home_of
from sync.documents.reading import Shown
from sync.documents.terms import Terms
from sync.merging.showing import MergedShown


class PendingView(msgspec.Struct):
    """An edit that the document's home has not decided about: it is in no version yet. `value` is null of a delete."""

    edit: str
    operation: str
    value: msgspec.Raw
    expected_version: int | None
    author: str
    at: int


class TermsView(msgspec.Struct, omit_defaults=True):
    """What the document is promised: `versions` and `time_ms` bound, `when_cut` and `wait_ms` are of strong. `sites` hold
    replicas of what is shared; none named: all."""

    level: str
    resolver: str
    versions: int = 0
    time_ms: int = 0
    when_cut: str = "wait"
    wait_ms: int = 0
    multi_writer: bool = False
    sites: tuple[str, ...] = ()
    rules: dict[str, str] = {}
    acyclic: bool = False
    checks: tuple[str, ...] = ()


class DocumentView(msgspec.Struct):
    """A document as the cloud knows it. `source`: decided here ("home"), or folded from what its site has told ("replica", which
    lags behind while `link` is down). `changed_at`: UTC ms, by the clock of its home. `staleness_ms`: how old this may be, and
    `versions_behind`: how many versions there may be beyond it (-1: nobody knows). `degraded`: it is not what was asked for.
    `deleted`: there is none any more; only who watches is shown that. `merging`: of a document of several writers what stands
    beside its value."""

    id: str
    home: str
    source: str
    version: int
    value: msgspec.Raw
    author: str
    changed_at: int
    pending: list[PendingView]
    as_of: int
    staleness_ms: int
    versions_behind: int
    terms: TermsView
    link: LinkView | None = None
    degraded: bool = False
    deleted: bool = False
    merging: MergedShown | None = None


class ChangeView(msgspec.Struct):
    """One version, without its value."""

    version: int
    author: str
    edit: str
    at: int
    deleted: bool


def exists(documents: CloudDocuments, name: str) -> bool:
    """Is there a value, or an edit on its way that may give one?"""
    return bool(documents.book.get(name).value) or any(documents.book.waiting(name))


def document_view(shown: Shown, link: LinkView | None, *, deleted_too: bool = False) -> DocumentView:
    """The document; value null and version 0 if only an edit is on its way. Raises Problem (404)."""
    name = shown.document
    if not shown.value and not shown.pending and not (deleted_too and shown.version):
        was = f" any more (deleted with version {shown.version})" if shown.version else ""
        raise Problem(404, "document_unknown", f"there is no document {name}{was}: PUT creates it")
    pending = [_pending(edit) for edit in shown.pending]
    value, terms = msgspec.Raw(shown.value or b"null"), terms_view(shown.terms)
    who = shown.author, shown.changed_at_ms
    age = shown.as_of_ms, shown.staleness_ms, shown.versions_behind
    source = "home" if home_of(name) == CLOUD and shown.merged is None else "replica"
    marks = shown.degraded, bool(shown.version) and not shown.value
    view = DocumentView(name, home_of(name), source, shown.version, value, *who, pending, *age, terms, link, *marks)
    view.merging = shown.merged
    return view


def history_view(documents: CloudDocuments, name: str) -> list[ChangeView]:
    """The latest versions, oldest first."""
    changes = documents.book.get(name).history
    return [ChangeView(each.version, each.author, each.edit, each.at_ms, each.deletes) for each in changes]


def terms_view(terms: Terms) -> TermsView:
    """As the API shows them."""
    level = terms.level
    bounds = level.versions, level.time_ms, level.when_cut, level.wait_ms
    shared = terms.multi_writer, terms.sites, dict(terms.rules)
    return TermsView(level.kind, terms.resolver, *bounds, *shared, terms.acyclic, terms.checks)


def _pending(edit: EditProposed) -> PendingView:
    expected = edit.expected if edit.expected >= 0 else None
    value = msgspec.Raw(edit.value or b"null")
    return PendingView(edit.edit, edit.operation, value, expected, edit.author, edit.at_ms)
