"""Forks, on a GlobalPlanner of the same process and loop."""

from typing import TYPE_CHECKING

import msgspec

from cloud.blobs import Fetching
from cloud.control.requests import ForkRequest
from cloud.inputs import NewRun
from cloud.port import Problem, Started
from cloud.runs import Run
from cloud.service import encoded_inputs
from workflow.fragment import Fragment
from workflow.plan import InputError
from workflow.seeding import ForkRefused, blank_of, origin_of

if TYPE_CHECKING:
    from cloud.service import PlannerService


class ForkService:
    """The old run stays as it is, whether it goes on or has ended."""

    def __init__(self, planner: "PlannerService", fetching: Fetching) -> None:
        self._planner, self._fetching = planner, fetching

    async def fork(self, run: str, asked: ForkRequest, *, idempotency_key: str, body: bytes) -> Started:
        """Start the new run. Raises Problem: 404 the run is not known, 422 wrong inputs, or no place to begin."""
        # The same key and body for another run is another request.
        whole = run.encode() + b"\n" + body
        (started,) = await self._planner.once(idempotency_key, whole, lambda key: self._fork(run, asked, key))
        if isinstance(started, Problem):
            raise started
        return started

    async def _fork(self, run: str, asked: ForkRequest, key: tuple[str, bytes] | None) -> list[Started | Problem]:
        known = await self._planner.find(run)
        new = new_run(known, asked)
        started = await self._planner.accept(known.plan, [new], key)
        for seed in new.origin.seeds if new.origin is not None else ():
            if seed.blob is not None:
                # The site that has it may be another one than those of the fork, and away when it is read.
                self._fetching.want(seed.blob)
        return [*started]


def new_run(known: Run, asked: ForkRequest) -> NewRun:
    """The fork of a run: of its definition version, with its inputs, labels and place in line but for what is asked otherwise."""
    plan = known.plan
    labels = known.labels if asked.labels is None else asked.labels
    try:
        inputs = encoded_inputs(plan.check_inputs({**msgspec.json.decode(known.inputs), **asked.inputs}), labels)
    except InputError as error:
        raise Problem(422, "invalid_inputs", str(error), [str(p) for p in error.problems]) from None
    blank = blank_of(plan, Fragment, known.id)
    try:
        origin = origin_of(known.id, plan, known.fragments, known.places, asked.from_task, blank)
    except ForkRefused as refusal:
        raise Problem(422, "fork_refused", str(refusal)) from None
    return NewRun(inputs, labels, known.priority, known.fairness_key, origin=origin, contract=known.contract)
