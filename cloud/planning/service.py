"""Plans as they are asked for and edited, on a GlobalPlanner of the same process and loop.

An edit is made on top of a version that its maker saw. What was to be seen there goes with it to the run's home, which may have
decided otherwise meanwhile, cut off or not: so an operator's edit can be ordered at any time, and nothing of either side is lost.
"""

from typing import TYPE_CHECKING, Annotated

import msgspec

from cloud.control.core import home_of, live_homes
from cloud.control.growing import home_of_added
from cloud.control.service import ControlService
from cloud.planning.views import PlanView, plan_view
from cloud.port import Problem
from cloud.problems import of_shape
from cloud.runs import Run
from cloud.views import CommandView, RunView
from sync.ot.operations import Malformed
from workflow.fragment import Fragment
from workflow.orders import EditPlan
from workflow.planning.editing import read_operations, seen_by

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner
    from cloud.service import PlannerService


class EditRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`operations` on what one home has of the plan, made on top of its version `base`; without, on what is known now."""

    operations: list[dict[str, object]]
    base: int = -1
    by: Annotated[str, msgspec.Meta(max_length=200)] = ""


def edit_request(body: bytes) -> EditRequest:
    """Raises Problem: 400 no JSON, 422 wrong shape."""
    try:
        return _EDIT.decode(body)
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": EditRequest.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error


class PlanService:
    """Of a GlobalPlanner in the same process and loop."""

    def __init__(self, node: "GlobalPlanner", runs: "PlannerService", control: ControlService) -> None:
        self._node, self._runs, self._control = node, runs, control

    async def plan(self, run: str) -> PlanView:
        """The plan as the cloud knows it. Raises Problem (404)."""
        return plan_view(await self._runs.find(run), self._node.planner.intents.commands.values())

    async def edit(
        self, run: str, asked: EditRequest, *, wait_s: float, idempotency_key: str, body: bytes
    ) -> RunView | CommandView:
        """The run once its home has taken the edit; the command, while it has not answered. Raises Problem."""
        known = await self._runs.find(run)
        if not known.sites:
            raise Problem(409, "command_refused", f"run {run} has no home yet: its plan is edited once it has begun")
        try:
            operations = read_operations(asked.operations)
        except Malformed as wrong:
            raise Problem(422, "invalid_request", f"this is no edit of a plan: {wrong}") from None
        order = EditPlan(asked.operations, by=asked.by or "api")
        site = home_of_added(known, order, live_homes(known) or known.sites, home_of)
        seen = seen_by(await self._seen(known, site, asked.base), operations)
        order = msgspec.structs.replace(order, seen=seen)
        return await self._control.order(run, order, wait_s=wait_s, idempotency_key=idempotency_key, body=body)

    async def _seen(self, run: Run, site: str, base: int) -> Fragment:
        fragment = run.fragment(site)
        if fragment is None:
            detail = f"{site} has not taken run {run.id} yet, so there is no plan to edit: try again shortly"
            raise Problem(409, "command_refused", detail)
        if base > fragment.version:
            detail = f"the plan of run {run.id} at {site} has version {fragment.version} here, {base} is yet to come"
            raise Problem(422, "no_such_version", detail)
        if base in (-1, fragment.version):
            return fragment
        return await self._runs.looking.fragment_at(run.id, site, base)


_EDIT = msgspec.json.Decoder(EditRequest)
