"""Ids of documents say where their home is: `shared/<name>` at the cloud, `site/<site>/<name>` at the site."""

import re

from sync.values import site_name_problem

ID_CHARACTERS_MAX = 200
CLOUD = "cloud"
SHARED = "shared/"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


def home_of(document: str) -> str:
    """The node that decides about the document: the cloud, or a site by its name."""
    return document.split("/", 2)[1] if document.startswith("site/") else CLOUD


def id_problem(document: str) -> str | None:
    """Why this cannot be a document's id; None if it can."""
    if len(document) > ID_CHARACTERS_MAX:
        return f"an id has at most {ID_CHARACTERS_MAX} characters, this one {len(document):,}"
    kind, _, rest = document.partition("/")
    name = rest
    if kind == "site":
        site, _, name = rest.partition("/")
        if problem := site_name_problem(site):
            return problem
    if kind not in ("shared", "site") or not _NAME.fullmatch(name):
        return f"{document!r} is no id of a document: shared/NAME or site/SITE/NAME (letters, digits, . _ - and / between parts)"
    return None
