"""Those who use the API: they start and steer runs, ask again when no answer comes, and settle what is unknown by looking."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from cloud.port import Problem, RunRequest, Started
from sync.actors import InboxFull
from sync.driver import StreamRecovered
from sync.log_errors import LogError
from tests.sim.definitions import CONTRACTS
from tests.sim.oracle import Done
from tests.sim.plan import Step
from workflow.generations import generation_of
from workflow.orders import Order, Pause, Resume, Retry, Settle, Signal
from workflow.states import RECONCILE, WAITING

if TYPE_CHECKING:
    from tests.sim.process import CloudProcess
    from tests.sim.world import World

ANSWER_S = 10.0
AGAIN_S = 1.5


class NoAnswer(Exception):
    """The cloud is not there, or died with the question."""


class People:
    """All users."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.registered: set[str] = set()
        self.keys = 0

    async def ask(self, question: Callable[["CloudProcess"], Coroutine[Any, Any, Any]]) -> Any:
        """What the cloud answers. Raises NoAnswer, Problem."""
        cloud = self.world.cloud
        if not cloud.serving or not hasattr(cloud, "service"):
            raise NoAnswer
        task = cloud.spawn(question(cloud))
        await asyncio.wait((task,), timeout=ANSWER_S)
        if not task.done():
            task.cancel()
            raise NoAnswer
        if task.cancelled() or isinstance(task.exception(), LogError | InboxFull | StreamRecovered):
            if not task.cancelled() and isinstance(task.exception(), InboxFull):
                self.world.trace.note("inbox_full")
            raise NoAnswer
        return task.result()

    async def insist(self, question: Callable[["CloudProcess"], Coroutine[Any, Any, Any]]) -> Any:
        """Ask until there is an answer."""
        while True:
            try:
                return await self.ask(question)
            except NoAnswer:
                self.world.trace.note("asked_again")
            except Problem as problem:
                if problem.status not in (409, 503) or problem.code == "run_ended":
                    raise
            await asyncio.sleep(AGAIN_S)

    async def register(self) -> None:
        for name, document in self.world.definitions.items():
            text = self.world.text_of(document)
            await self.insist(lambda cloud, text=text, name=name: cloud.service.register(text, name))  # type: ignore[misc]

    async def do(self, step: Step) -> None:
        """Carry out a command of the plan."""
        try:
            await getattr(self, f"_{step.what}")(step)
            self.world.trace.note(f"verb_{step.what}")
        except NoAnswer:
            self.world.trace.note("unanswered")
        except Problem as problem:
            self.world.trace.note(f"problem_{problem.code}")

    async def _start(self, step: Step, times: int = 1) -> None:
        self.keys += 1
        names = sorted(self.world.definitions)
        key, name = f"key-{self.keys}", names[step.a % len(names)]
        request = RunRequest(**CONTRACTS[(step.a >> 6) % len(CONTRACTS)])
        for _ in range(times):
            answers = await self.insist(
                lambda cloud: cloud.service.start(f"{name}@1", [request], idempotency_key=key, body=name.encode())
            )
            self._accepted(key, answers[0])

    def _accepted(self, key: str, answer: object) -> None:
        assert isinstance(answer, Started), f"a run is refused: {answer!r}"
        self.world.trace.step(f"started {answer.id}")
        self.world.check(lambda: self.world.oracle.accepted(key, answer.id))

    async def _start_twice(self, step: Step) -> None:
        await self._start(step, 2)

    def _run(self, step: Step) -> str:
        started = list(self.world.oracle.started.values())
        if not started:
            raise NoAnswer
        return started[-1 - step.a % min(len(started), 12)]

    async def order(self, run: str, order: Order) -> None:
        await self.ask(lambda cloud: cloud.control.order(run, order, wait_s=2.0))

    async def _signal(self, step: Step) -> None:
        await self.order(self._run(step), Signal("go", {"at": step.a}))

    async def _pause(self, step: Step) -> None:
        await self.order(self._run(step), Pause())

    async def _resume(self, step: Step) -> None:
        await self.order(self._run(step), Resume())

    async def _retry(self, step: Step) -> None:
        await self.order(self._run(step), Retry())

    async def _cancel(self, step: Step) -> None:
        run = self._run(step)
        await self.ask(lambda cloud: cloud.service.cancel(run, reason="not wanted", wait_s=2.0))

    async def _look(self, step: Step) -> None:
        run = self._run(step)
        await self.ask(lambda cloud: cloud.service.run(run, wait_s=0))

    async def go_round(self, *, is_late: bool) -> bool:
        """After the storm: lift pauses, and settle what is unknown by what has really happened. Is anything left to do?"""
        cloud = self.world.cloud
        if not cloud.serving:
            return True
        runs = list(cloud.node.planner.runs.values())
        for run in runs:
            if run.state() == "paused":
                await self._quietly(run.id, Resume())
            for fragment in run.fragments:
                if fragment is None or fragment.outcome:
                    continue
                for task, state in enumerate(fragment.states):
                    if state == WAITING:  # Nothing is skipped: it would hide that nobody wakes.
                        await self._quietly(run.id, Signal("go"))
                    elif state == RECONCILE:
                        done = Done(run.id, task, generation_of(fragment, task))
                        # Of a run that is being cancelled nothing is begun anew.
                        undone = "failed" if fragment.stopping or is_late else "retry"
                        outcome = "completed" if self.world.oracle.effects[done] else undone
                        self.world.trace.note(f"settled_{outcome}")
                        await self._quietly(run.id, Settle(fragment.id_of(task), outcome, "ann", output="seen"))
        return bool(runs)

    async def _quietly(self, run: str, order: Order) -> None:
        try:
            await self.order(run, order)
        except (NoAnswer, Problem) as error:
            self.world.trace.note(f"not_now_{getattr(error, 'code', 'unanswered')}")
