"""Documents of runs as those are told of them who watch."""

from sync.documents.events import DocumentChanged
from sync.documents.ids import is_of_run, run_document, run_of
from sync.watching.unseen import News, Watched
from workflow.context import known_of, names_of
from workflow.context_events import ContextChanged
from workflow.fragment import Fragment


def runs_named(watched: Watched) -> list[str]:
    """The runs whose documents are named, or that a prefix names (`run/RUN/`)."""
    named = [document for document in watched.documents if is_of_run(document)]
    named += [prefix for prefix in watched.prefixes if is_of_run(prefix) and prefix.count("/") > 1]
    return list(dict.fromkeys(run_of(each)[0] for each in named))


def news_of_run(fragment: Fragment, watched: Watched) -> list[News]:
    """What there is of them by now."""
    found = list[News]()
    for name in names_of(fragment):
        known, document = known_of(fragment, name), run_document(str(fragment.run), name)
        if watched.fits(document):
            edit = known.edits[-1][0] if known.edits else ""
            found.append(News(document, known.version, fragment.epoch, known.value, known.author, edit, known.at_ms))
    return found


def change_of(run: str, epoch: int, event: ContextChanged) -> DocumentChanged:
    """The same as of any other document."""
    who = event.author, event.edit, event.at_ms
    return DocumentChanged(run_document(run, event.name), event.version, epoch, event.value, *who)
