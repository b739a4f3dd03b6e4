"""What an agent asks to watch, and how it is told."""

from edge.documenting.messages import shown_message
from sync.documents.ids import CLOUD, home_of, id_problem, is_of_run
from sync.documents.reading import Shown
from sync.watching.unseen import WATCHED_MAX, News, Watched
from tiercel.v1 import document_pb2

PREFIX_CHARACTERS_MAX = 200


def watch_problem(asked: document_pb2.DocumentWatch, site: str) -> str:
    """Why this cannot be watched here; empty if it can."""
    if not asked.documents and not asked.prefixes:
        return "nothing is named: a watch names documents, or what their ids begin with"
    if len(asked.documents) + len(asked.prefixes) > WATCHED_MAX:
        return f"one watch names at most {WATCHED_MAX:,} documents and prefixes"
    for each in asked.documents:
        if problem := id_problem(each.document):
            return problem
        if not is_of_run(each.document) and (home := home_of(each.document)) not in (CLOUD, site):
            return f"{each.document} is at home at {home}, and not kept at {site}: watch it at the cloud"
    too_long = [prefix for prefix in asked.prefixes if len(prefix) > PREFIX_CHARACTERS_MAX]
    return f"a prefix has at most {PREFIX_CHARACTERS_MAX} characters" if too_long else ""


def watched_of(asked: document_pb2.DocumentWatch) -> Watched:
    """What is to be watched."""
    named = {each.document: each.version_from if each.HasField("version_from") else None for each in asked.documents}
    return Watched(named, tuple(asked.prefixes))


def news_message(known: Shown, news: News) -> document_pb2.DocumentNews:
    """One version, with how old the node's knowledge of the document is now."""
    shown = known._replace(version=news.version, value=news.value, author=news.author, changed_at_ms=news.at_ms)
    return document_pb2.DocumentNews(shown=shown_message(shown), gap=news.gap)
