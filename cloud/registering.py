"""Definitions: registered once, kept beside the log, and never changed."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from cloud.inputs import RegisterDefinition
from cloud.port import Problem
from sync.outputs import Persist, Reply
from sync.values import Now
from workflow.events import DefinitionRegistered
from workflow.packing import unpack
from workflow.plan import plan_from_document

if TYPE_CHECKING:
    from cloud.planner import Planner


def register(planner: "Planner", input: RegisterDefinition, now: Now, out: list[object]) -> None:
    """Know the definition from here on; the same document again changes nothing, another one is refused."""
    known = planner.plans.get(input.ref)
    if known is not None and known.packed != input.document and known.document != unpack(input.document):
        detail = (
            f"{input.ref} is registered already with other content, and a registered definition never changes: "
            "give the changed one a new version"
        )
        out.append(Reply(input.token, Problem(409, "definition_exists", detail)))
        return
    if known is None:
        planner.note("", DefinitionRegistered(input.ref, input.document), now, out)
        out += _kept(planner, input.ref)
        planner.schedules.registered(input.ref, now, out)
    out.append(Reply(input.token, planner.plans[input.ref]))


def know(planner: "Planner", ref: str, document: bytes) -> None:
    """A definition was registered."""
    if ref not in planner.plans:
        plan = planner.plans[ref] = plan_from_document(document)
        planner.latest[plan.ref.partition("@")[0]] = ref


def restore_definitions(planner: "Planner", persisted: Mapping[str, bytes]) -> set[str]:
    """Begin from those that were kept; the keys under which they are."""
    kept = {key for key in persisted if key.startswith("definition/")}
    for key, value in persisted.items():
        if key in kept:
            know(planner, key.removeprefix("definition/"), value)
    planner.latest |= {key.removeprefix("latest/"): ref.decode() for key, ref in persisted.items() if key.startswith("latest/")}
    return kept


def keep_definitions(planner: "Planner", kept: Collection[str], out: list[object]) -> None:
    """Those that are known only from what was fetched back after a loss are kept from here on."""
    for ref in planner.plans:
        if f"definition/{ref}" not in kept:
            out += _kept(planner, ref)


def _kept(planner: "Planner", ref: str) -> list[Persist]:
    name = ref.partition("@")[0]
    return [Persist(f"definition/{ref}", planner.plans[ref].packed), Persist(f"latest/{name}", planner.latest[name].encode())]
