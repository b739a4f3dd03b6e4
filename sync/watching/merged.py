"""Documents of several writers as watchers are told of them: the value that follows from all writes that are known here."""

from sync.documents.events import DocumentChanged
from sync.merging.book import MergeBook
from sync.merging.showing import look
from sync.watching.unseen import News, TellWatchers, Watched, news_of

JUDGED_BITS = 8


def told_of(book: MergeBook, document: str) -> TellWatchers | None:
    """The document as it is known here; None if it has not begun. A judgement of the cloud on a write changes it, too."""
    if (shown := look(book, document)) is None:
        return None
    known, last = shown.known, shown.known.heads[-1] if shown.known.heads else None
    state = (sum(known.vector.values()) << JUDGED_BITS) + len(known.quarantined)
    who = shown.author, last.edit if last is not None else "", shown.at_ms
    return TellWatchers(DocumentChanged(document, known.version, 0, shown.value, *who), state)


def news_in(book: MergeBook, watched: Watched) -> list[News]:
    """What there is of them by now."""
    fitting = [name for name in book.documents if watched.fits(name)] if watched.prefixes else watched.documents
    told = (told_of(book, name) for name in fitting)
    return [news_of(each) for each in told if each is not None and each.change.version]
