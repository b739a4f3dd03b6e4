"""The documents of a run, `run/RUN/NAME`: JSON values with versions that its tasks share. They are part of the fragment's state.

So they have its home and no other: who decides for the run decides for them, they move with it under its epoch, a home that has
lost it has lost them, the cloud folds them into its replica, and after the end they are in the run's tombstone, as long as that
is kept. Of a run of several sites they are at its first.
"""

from typing import TYPE_CHECKING

import msgspec

from sync.documents.events import EditProposed, EditRefused
from sync.documents.merge_patch import merged
from workflow.context_events import ContextChanged
from workflow.context_state import EDITS_KEPT, RunDocument

if TYPE_CHECKING:
    from workflow.fragment import Fragment

DOCUMENTS_MAX = 32
VALUE_BYTES_MAX = 64 << 10
ALL_BYTES_MAX = 256 << 10
"""Of one run, for its state travels as a whole when it moves."""
ANY_VERSION = -1


def known_of(fragment: "Fragment", name: str) -> RunDocument:
    """What is known of it: version 0 and no value if nothing."""
    context = fragment.extras.context if fragment.extras is not None else {}
    return context.get(name) or RunDocument()


def names_of(fragment: "Fragment") -> list[str]:
    """The documents that have begun, deleted ones included, in order."""
    return sorted(fragment.extras.context) if fragment.extras is not None else []


def judge(fragment: "Fragment", name: str, edit: EditProposed, now_ms: int) -> ContextChanged | EditRefused | int:
    """The home's word on an edit: the event that follows, the refusal, or the version that it has made before."""
    known = known_of(fragment, name)
    if (made := next((version for said, version in known.edits if said == edit.edit), 0)) and edit.edit:
        return made
    if problem := _problem(fragment, known, edit):
        return EditRefused(edit.document, edit.edit, *problem, known.version)
    value = _outcome(known, edit)
    if too_much := _too_much(fragment, name, known, value):
        return EditRefused(edit.document, edit.edit, "document_too_large", too_much, known.version)
    return ContextChanged(name, known.version + 1, value, edit.author, edit.edit, now_ms)


def _problem(fragment: "Fragment", known: RunDocument, edit: EditProposed) -> tuple[str, str] | None:
    if fragment.outcome:
        return "run_ended", f"run {fragment.run} has ended ({fragment.outcome}): what it had is kept, and changes no more"
    if edit.terms is not None:
        return "invalid_terms", f"{edit.document} has the level of its run: leave out level, resolver and sites"
    actual = known.version if known.value else 0
    if edit.expected not in (ANY_VERSION, actual):
        found = f"has version {actual}" if actual else "does not exist"
        wanted = f"version {edit.expected}" if edit.expected else "that it does not exist"
        return "version_conflict", f"{edit.document} {found}, and {wanted} was expected: read it again"
    if edit.operation != "put" and not known.value:
        return "document_unknown", f"there is no document {edit.document}: put a value first"
    return None


def _outcome(known: RunDocument, edit: EditProposed) -> bytes:
    if edit.operation == "merge":
        decode = msgspec.json.decode
        return msgspec.json.encode(merged(decode(known.value), decode(edit.value)), order="sorted")
    return b"" if edit.operation == "delete" else edit.value


def _too_much(fragment: "Fragment", name: str, known: RunDocument, value: bytes) -> str:
    context = fragment.extras.context if fragment.extras is not None else {}
    if len(value) > VALUE_BYTES_MAX:
        return f"{name} would have {len(value):,} bytes; allowed for a run's document: {VALUE_BYTES_MAX:,}"
    if name not in context and len(context) >= DOCUMENTS_MAX:
        return f"run {fragment.run} has {DOCUMENTS_MAX} documents already, deleted ones included: use one that exists"
    held = sum(len(each.value) for each in context.values()) - len(known.value)
    if value and held + len(value) > ALL_BYTES_MAX:
        return f"all documents of run {fragment.run} would have more than {ALL_BYTES_MAX:,} bytes: delete some first"
    return ""


def fold_change(fragment: "Fragment", event: ContextChanged) -> None:
    """The document is as the event says."""
    context = fragment.more().context
    known = context.get(event.name) or RunDocument()
    edits = [*known.edits, (event.edit, event.version)][-EDITS_KEPT:]
    context[event.name] = RunDocument(event.version, event.value, event.author, event.at_ms, edits)
