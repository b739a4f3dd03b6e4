"""What a document is promised, and keeps as long as it exists."""

import msgspec

from sync.levels import EVENTUAL, Level

RESOLVERS = ("home",)
"""Documents that several sites write to at once (`multi_writer`) are refused until their merging is there."""
SITES_MAX = 64


class Terms(msgspec.Struct, array_like=True, frozen=True):
    """`resolver`: "home", one home puts all edits in order. `sites` hold a replica of what is shared; empty: all. `rules`: of a
    document that several nodes write to, by which rule the writes of a field are merged (`sync.merging.rules`)."""

    level: Level = EVENTUAL
    resolver: str = "home"
    multi_writer: bool = False
    sites: tuple[str, ...] = ()
    rules: tuple[tuple[str, str], ...] = ()

    def reaches(self, site: str) -> bool:
        """Does the site hold a replica of a shared document of these terms?"""
        return not self.sites or site in self.sites


PLAIN = Terms()


def terms_problem(terms: Terms) -> str:
    """Why a document cannot begin so; empty if it can."""
    if terms.resolver not in RESOLVERS:
        return f"resolver {terms.resolver!r} is none; allowed: {', '.join(RESOLVERS)}"
    if terms.multi_writer and terms.level.kind != "eventual":
        return f"a document that many write to is eventual, not {terms.level.kind}"
    if terms.multi_writer != (terms.resolver != "home"):
        return "documents that many write to at once are not there yet: leave out multi_writer"
    if len(terms.sites) > SITES_MAX:
        return f"replicas at {len(terms.sites)} sites; allowed: {SITES_MAX}, or all of them (name none)"
    if terms.level.kind == "bounded" and not (terms.level.versions or terms.level.time_ms):
        return "bounded by what? allowed: versions, time, or both"
    return ""
