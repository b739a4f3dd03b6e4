"""Ids of documents say where their home is: `shared/<name>` at the cloud, `site/<site>/<name>` and `agent/<site>/<agent>/<name>`
at the site. What is an agent's is written by that agent alone.
"""

import re

from sync.values import site_name_problem

ID_CHARACTERS_MAX = 200
CLOUD = "cloud"
SHARED = "shared/"
AGENT = "agent/"
KINDS = ("shared", "site", "agent")
FORMS = "shared/NAME, site/SITE/NAME or agent/SITE/AGENT/NAME"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


def home_of(document: str) -> str:
    """The node that decides about the document: the cloud, or a site by its name."""
    return document.split("/", 2)[1] if document.startswith(("site/", AGENT)) else CLOUD


def owner_of(document: str) -> str:
    """The agent whose state it is; empty if it belongs to nobody."""
    return document.split("/", 3)[2] if document.startswith(AGENT) else ""


def id_problem(document: str) -> str | None:
    """Why this cannot be a document's id; None if it can."""
    if len(document) > ID_CHARACTERS_MAX:
        return f"an id has at most {ID_CHARACTERS_MAX} characters, this one {len(document):,}"
    kind, _, rest = document.partition("/")
    name = rest
    if kind in ("site", "agent"):
        site, _, name = rest.partition("/")
        if problem := site_name_problem(site):
            return problem
    if kind not in KINDS or not _NAME.fullmatch(name) or (kind == "agent" and "/" not in name):
        return f"{document!r} is no id of a document: {FORMS} (letters, digits, . _ - and / between parts)"
    return None
