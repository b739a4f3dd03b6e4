"""Ids of documents say where their home is: `shared/<name>` at the cloud, `site/<site>/<name>` and `agent/<site>/<agent>/<name>`
at the site. What is an agent's is written by that agent alone. `run/<run>/<name>` has the home of its run, wherever that is, and
is part of the run's state (`workflow.context`): of those nothing here knows a home.
"""

import re

from sync.values import site_name_problem

ID_CHARACTERS_MAX = 200
CLOUD = "cloud"
SHARED = "shared/"
AGENT = "agent/"
RUN = "run/"
KINDS = ("shared", "site", "agent", "run")
FORMS = "shared/NAME, site/SITE/NAME, agent/SITE/AGENT/NAME or run/RUN/NAME"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


def home_of(document: str) -> str:
    """The node that decides about the document: the cloud, or a site by its name."""
    assert not document.startswith(RUN), f"{document} has the home of its run"
    return document.split("/", 2)[1] if document.startswith(("site/", AGENT)) else CLOUD


def owner_of(document: str) -> str:
    """The agent whose state it is; empty if it belongs to nobody."""
    return document.split("/", 3)[2] if document.startswith(AGENT) else ""


def is_of_run(document: str) -> bool:
    """Is it part of a run's state?"""
    return document.startswith(RUN)


def run_of(document: str) -> tuple[str, str]:
    """The run, and the name of its document."""
    _, run, name = document.split("/", 2)
    return run, name


def run_document(run: str, name: str) -> str:
    """The id of a run's document."""
    return f"{RUN}{run}/{name}"


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
    if kind not in KINDS or not _NAME.fullmatch(name) or (kind in ("agent", "run") and "/" not in name):
        return f"{document!r} is no id of a document: {FORMS} (letters, digits, . _ - and / between parts)"
    return None
