"""What a document is promised, and keeps as long as it exists."""

from typing import NamedTuple

import msgspec

from sync.levels import EVENTUAL, Level
from sync.merging.rules import RULES_MAX, read_rule

MERGING = ("lww", "semantic")
"""Of documents that several nodes write to at once (`sync.merging`): of each field the latest stands, or what its rule says."""
RESOLVERS = ("home", "ot", *MERGING)
SITES_MAX = 64
CHECKS_MAX = 20
CHECK_CHARACTERS_MAX = 500


class Terms(msgspec.Struct, array_like=True, frozen=True):
    """`resolver`: "home", one home puts all edits in order. `sites` hold a replica of what is shared; empty: all. `rules`: of a
    document that several nodes write to, by which rule the writes of a field are merged (`sync.merging.rules`).

    `resolver` "ot": edits are operations, and go behind those that their maker did not know of (sync.documents.transforming).
    `acyclic`: its edges close no circle; `checks`: what must hold of `value` after every edit (CEL)."""

    level: Level = EVENTUAL
    resolver: str = "home"
    multi_writer: bool = False
    sites: tuple[str, ...] = ()
    rules: tuple[tuple[str, str], ...] = ()
    acyclic: bool = False
    checks: tuple[str, ...] = ()

    def reaches(self, site: str) -> bool:
        """Does the site hold a replica of a shared document of these terms?"""
        return not self.sites or site in self.sites


PLAIN = Terms()


class Fault(NamedTuple):
    """Which of the terms is wrong, by its name in the API, and why."""

    name: str
    reason: str


def terms_problem(terms: Terms) -> str:
    """Why a document cannot begin so; empty if it can."""
    fault = terms_fault(terms)
    return fault.reason if fault is not None else ""


def terms_fault(terms: Terms) -> Fault | None:
    """The first of the terms for which a document cannot begin so; None if it can."""
    if terms.resolver not in RESOLVERS:
        return Fault("resolver", f"resolver {terms.resolver!r} is none; allowed: {', '.join(RESOLVERS)}")
    if terms.multi_writer and terms.level.kind != "eventual":
        return Fault("level", f"a document that many write to is eventual, not {terms.level.kind}")
    if terms.multi_writer != (terms.resolver in MERGING):
        only = f"a document has several writers (multi_writer) if its resolver is {' or '.join(MERGING)}, and only then"
        return Fault("multi_writer", only)
    if problem := _rules_problem(terms):
        return Fault("rules", problem)
    if (terms.acyclic or terms.checks) and terms.resolver != "ot":
        reason = f"checks, and edges that close no circle, are for documents of resolver ot, and it is {terms.resolver}"
        return Fault("acyclic" if terms.acyclic else "checks", reason)
    if len(terms.checks) > CHECKS_MAX or any(len(check) > CHECK_CHARACTERS_MAX for check in terms.checks):
        return Fault("checks", f"at most {CHECKS_MAX} checks of {CHECK_CHARACTERS_MAX} characters")
    if len(terms.sites) > SITES_MAX:
        return Fault("sites", f"replicas at {len(terms.sites)} sites; allowed: {SITES_MAX}, or all of them (name none)")
    if terms.level.kind == "bounded" and not (terms.level.versions or terms.level.time_ms):
        return Fault("level", "bounded by what? allowed: versions, time, or both")
    return None


def _rules_problem(terms: Terms) -> str:
    if terms.rules and terms.resolver != "semantic":
        return f"fields have rules if the resolver is semantic, and it is {terms.resolver}"
    if len(terms.rules) > RULES_MAX:
        return f"{len(terms.rules)} fields have rules; allowed: {RULES_MAX}"
    for name, text in terms.rules:
        try:
            read_rule(text)
        except ValueError as error:
            return f"field {name!r}: {error}"
    return ""
