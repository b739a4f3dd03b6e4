"""A cloud and two sites that write one document, for tests."""

import msgspec

from sync.documents.book import ANY_VERSION
from sync.documents.inputs import EditDocument
from sync.documents.terms import Terms
from sync.levels import EVENTUAL
from sync.merging.book import Made, MergeBook
from tests.two_tiers import Tiers
from tests.workflow.plans import plan_of

PLAN = plan_of({"a": {"capability": "pick"}}, name="one")
PLANS, LWW = "shared/plans", Terms(EVENTUAL, "lww", True)


def begun(value: object, terms: Terms = LWW) -> Tiers:
    """A document that both sites have heard of."""
    tiers = Tiers([PLAN])
    put(tiers, value, "begin", terms)
    tiers.drain()
    return tiers


def put(tiers: Tiers, value: object, edit: str = "", terms: Terms | None = None, expected: int = ANY_VERSION) -> object:
    """A patch at the cloud, or its beginning on these terms."""
    operation, body = "merge" if terms is None else "put", msgspec.json.encode(value)
    return tiers.cloud.ask(lambda token: EditDocument(token, PLANS, edit, operation, body, expected, "ada", terms))


def put_at(tiers: Tiers, site: str, value: object, edit: str) -> Made | None:
    """A patch at a site, and what it made there; None: it was refused."""
    outpost = tiers.wires[site].site
    outpost.turn(EditDocument(7, PLANS, edit, "merge", msgspec.json.encode(value), ANY_VERSION, "ben"))
    return outpost.core.merging.book.edits.get(edit)


def book(tiers: Tiers, where: str) -> MergeBook:
    core = tiers.cloud.planner if where == "cloud" else tiers.wires[where].site.core
    return core.merging.book


def value(tiers: Tiers, where: str) -> object:
    body = book(tiers, where).value(PLANS)
    return msgspec.json.decode(body) if body else None


def everywhere(tiers: Tiers) -> list[object]:
    """What the cloud and both sites show."""
    return [value(tiers, where) for where in ("cloud", *sorted(tiers.wires))]
