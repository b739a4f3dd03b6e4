"""From the tasks of a draft to their plans: durations in ms, names as numbers, expressions compiled."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import msgspec

from workflow.coordination_reading import CoordinationPart
from workflow.definition import RETRY_DELAY_CAP_MS, TaskDefinition, WorkflowDefinition
from workflow.expression import Expression
from workflow.flatten import Draft, Level
from workflow.inputs import InputSchema, SchemaRefused
from workflow.parts import RecoveryStep, RetryPolicy, Service, StagesOfTask
from workflow.problems import Place, Problems
from workflow.tasks import (
    LOCAL_BITS,
    ApprovalPlan,
    CachePlan,
    ChildPlan,
    CoordinationPlan,
    Effect,
    EscalationPlan,
    GroupPlan,
    Kind,
    Recovery,
    RetryPlan,
    Role,
    Stages,
    SyncPlan,
    TaskPlan,
    VotePlan,
)
from workflow.template import EMPTY, Template
from workflow.templates import TemplateCompiler, Vocabulary
from workflow.vote_parts import DEADLINE_MS


def retry_plan(policy: RetryPolicy) -> RetryPlan:
    """The policy in numbers; the default cap does not cut a longer first delay."""
    cap_ms = max(RETRY_DELAY_CAP_MS, policy.delay) if policy.delay_max is None else policy.delay_max
    lists = tuple(policy.retry_on), tuple(policy.give_up_on)
    return RetryPlan(policy.max_attempts, policy.delay, policy.factor, cap_ms, policy.jitter, *lists)


def coordination_plan(part: CoordinationPart | None) -> CoordinationPlan | None:
    """What is not direct, as plans carry it."""
    return part.value() if part is not None and part.protocol != "direct" else None


def attended(plan: CoordinationPlan | None) -> CoordinationPlan | None:
    """The same, but that no agent acts without its site."""
    return msgspec.structs.replace(plan, alone_ms=0) if plan is not None and plan.alone_ms else plan


_RETRY = retry_plan(RetryPolicy())
_EFFECTS = {effect.name.lower(): effect for effect in Effect}
# A task that has no more than these is made without looking at anything else: large graphs consist of such.
_PLAIN = frozenset(
    {"capability", "agent", "parameters", "effect", "timeout", "retry", "site", "needs", "description", "coordination"}
)
_TIMED = frozenset({"wait", "needs", "site", "description"})
_LOCALS_OF_BODY = {"map": ("item", "index"), "repeat": ("index", "previous")}
_SUFFIXES = {Role.VALIDATE: "validate", Role.CLEANUP: "cleanup", Role.COMPENSATE: "compensate", Role.RECONCILE: "reconcile"}
_LINKS = {Role.VALIDATE: "validator", Role.RECONCILE: "reconciler"}


class TaskCompiler:
    """Compiles the drafts of one definition, outer ones first."""

    def __init__(self, definition: WorkflowDefinition, vocabulary: Vocabulary, problems: Problems) -> None:
        self.definition = definition
        self.vocabulary = vocabulary
        self.problems = problems
        self.is_plain = True
        self.coordination = coordination_plan(definition.coordination)
        self.recoveries: tuple[tuple[Recovery, ...], tuple[Recovery, ...]] = ((), ())  # Of the run's tasks, and of bodies'.

    def name(self, draft: Draft) -> None:
        """Give each level of an ordered draft its names and its compiler of templates."""
        silent: tuple[set[int], ...] = (set(),)
        base = draft.depth << LOCAL_BITS
        if draft.outer is not None:
            assert draft.top.outer is not None, "a body is inside of a level"
            silent = (*draft.top.outer.compiler.silent, *silent)
        for number, task in enumerate(draft.tasks):
            if task.wait is not None and task.wait.signal is None:
                silent[-1].add(base | draft.index[number])
        words = self._words(draft)
        for level in (draft.top, *draft.groups.values()):
            level.name()
            level.templates = TemplateCompiler(
                self.vocabulary, self.problems, level.visible, words, silent, draft.outputs, rounds=_repeat_around(draft)
            )
        if draft.outer is None and self.definition.recovery:
            steps = self.definition.recovery
            # Inside a body the tasks of the run cannot be gone back to; whoever is around it can.
            inner = [step for step in steps if step.rollback is None or step.rollback.to is None]
            whole = recovery_plans(steps, draft.top, ("recovery",), self.problems)
            self.recoveries = whole, recovery_plans(inner, draft.top, (), self.problems)

    def _words(self, draft: Draft) -> tuple[str, ...]:
        known: dict[str, None] = {}
        while draft.outer is not None:
            owner = draft.outer.tasks[draft.owner]
            known |= dict.fromkeys(_LOCALS_OF_BODY["map" if owner.map else "repeat"])
            draft = draft.outer
        return tuple(known)

    def compile(self, draft: Draft) -> None:
        """Make the plans of all tasks of a draft; those of hidden tasks are last."""
        self._inherit_site(draft)
        for index, number in enumerate(draft.order):
            task, level = draft.tasks[number], draft.levels[number]
            if level.group < 0 and level.site is None and task.model_fields_set <= _PLAIN:
                draft.plans.append(self._plain(draft, index, number, task, level))
            else:
                self.is_plain = self.is_plain and _is_timed(task)
                draft.plans.append(_Making(self, draft, number).plan())
        self._compile_hidden(draft)

    def _inherit_site(self, draft: Draft) -> None:
        if draft.outer is not None:
            draft.top.site = draft.outer.plans[draft.outer.index[draft.owner]].site

    def _plain(self, draft: Draft, index: int, number: int, task: TaskDefinition, level: Level) -> TaskPlan:
        id, templates = draft.ids[number], level.compiler
        return TaskPlan(
            index=index,
            id=id,
            capability=task.capability or "",
            agent=task.agent or "",
            parameters=templates.parameters(task.parameters, (*level.place, id, "with")) if task.parameters else EMPTY,
            effect=_EFFECTS[task.effect],
            timeout_ms=task.timeout or 0,
            retry=retry_plan(task.retry) if task.retry else _RETRY,
            site=templates.site(task.site, (*level.place, id, "site")) if task.site else None,
            recovery=self.recoveries[draft.depth > 0],
            coordination=self.coordination_of(task, (*level.place, id)),
        )

    def coordination_of(self, task: TaskDefinition, place: Place) -> CoordinationPlan | None:
        """Its own, or that of the run; None of what names its agent, or is done by nobody's hands."""
        if task.agent is not None and task.coordination is not None:
            message = "the task names its agent, so there is nobody to be chosen"
            self.problems.add((*place, "coordination"), message, "`capability:` instead of `agent:`, or no `coordination:`")
        if not (task.capability or task.action):
            return None
        repeatable = task.effect == "repeatable"
        if task.coordination is None:
            return self.coordination if repeatable else attended(self.coordination)
        found = coordination_plan(task.coordination)
        if found is not None and found.alone_ms and not repeatable:
            message = f"agents that have lost their site may do the task twice, and its effect is `{task.effect}`"
            self.problems.add((*place, "coordination", "alone"), message, "`effect: repeatable`, or no `alone:`")
        return found

    # Hidden tasks

    def _compile_hidden(self, draft: Draft) -> None:
        """Validation, cleanup and compensation by agents: tasks at the end, which their owners know."""
        links: dict[int, dict[str, int]] = {}
        for number, role, service in draft.hidden:
            owner = draft.index[number]
            index, word = len(draft.plans), _SUFFIXES[role]
            links.setdefault(owner, {})[_LINKS.get(role, word)] = index
            place = (*draft.place(number), "validate" if role is Role.VALIDATE else word)
            templates = draft.levels[number].compiler.beside("output")
            parameters = templates.parameters(service.parameters, (*place, "with"))
            reads: tuple[int, ...] = ()
            if "output" in templates.words:
                reads = (draft.depth << LOCAL_BITS | owner,)
                draft.outputs.update(reads)
            work = _work(service, parameters)
            site = draft.plans[owner].site
            id = f"{draft.ids[number]}:{word}"
            draft.plans.append(TaskPlan(index=index, id=id, role=role, owner=owner, site=site, reads=reads, **work))
        for owner, its in links.items():
            draft.plans[owner] = msgspec.structs.replace(draft.plans[owner], **its)


def _repeat_around(draft: Draft) -> int:
    """The nearest repeat around a draft, as references name it; -1 if there is none."""
    while (outer := draft.outer) is not None:
        if outer.tasks[draft.owner].repeat is not None:
            return outer.depth << LOCAL_BITS | outer.index[draft.owner]
        draft = outer
    return -1


def _is_timed(task: TaskDefinition) -> bool:
    """Is it a wait for a time, and nothing else?"""
    return task.model_fields_set <= _TIMED and task.wait is not None and task.wait.duration is not None


def _work(work: TaskDefinition | Service, parameters: Template) -> dict[str, Any]:
    """What is alike for all that agents do."""
    return {
        "capability": work.capability or work.action or "",
        "agent": work.agent or "",
        "parameters": parameters,
        "effect": _EFFECTS[work.effect],
        "timeout_ms": work.timeout or 0,
        "start_timeout_ms": work.start_timeout or 0,
        "heartbeat_ms": work.heartbeat or 0,
        "retry": retry_plan(work.retry) if work.retry else _RETRY,
    }


class _Making:
    """One task on its way to its plan: its fields so far, and what its expressions read."""

    def __init__(self, compiler: TaskCompiler, draft: Draft, number: int) -> None:
        self.definition, self.problems, self.recoveries = compiler.definition, compiler.problems, compiler.recoveries
        self.compiler = compiler
        self.draft, self.number = draft, number
        self.task, self.level = draft.tasks[number], draft.levels[number]
        self.templates = self.level.compiler
        self.place = draft.place(number)
        self.reads: set[int] = set()
        self.fields: dict[str, Any] = {}

    def plan(self) -> TaskPlan:
        task, level, draft = self.task, self.level, self.draft
        parameters = self.templates.parameters(task.parameters, (*self.place, "with"))
        self.fields = _work(task, parameters) | {"site": self._site(), "join": task.join, "optional": task.optional}
        self.fields["grows"] = task.grows
        self.fields["coordination"] = self.compiler.coordination_of(task, self.place)
        if level.group >= 0:
            self.fields["parent"] = draft.index[level.group]
        self._add_kind()
        self._add_conditions()
        self._add_rest()
        return TaskPlan(index=draft.index[self.number], id=draft.ids[self.number], reads=tuple(sorted(self.reads)), **self.fields)

    def _site(self) -> Template | None:
        """Its own, or that of the task around it."""
        own = self.templates.site(self.task.site, (*self.place, "site")) if self.task.site else self.level.site
        if inner := self.draft.groups.get(self.number):
            inner.site = own
        return own

    def _condition(self, text: str, *steps: str) -> Expression | None:
        expression, reads = self.templates.condition(text, (*self.place, *steps))
        self.reads.update(reads)
        return expression

    def _read(self, template: Template) -> Template:
        self.reads.update(template.reads)
        return template

    def _add_conditions(self) -> None:
        task = self.task
        if task.when is not None:
            self.fields["when"] = self._condition(task.when, "when")
        if task.validation is not None and task.validation.check is not None:
            beside = self.templates.beside("output")
            self.fields["validate"], reads = beside.condition(task.validation.check, (*self.place, "validate"))
            self.reads.update(reads)

    def _add_rest(self) -> None:
        task = self.task
        if task.resources:
            self.fields["resources"] = tuple(sorted((resource.name, resource.units) for resource in task.resources))
        self.fields["recovery"] = self._recovery()
        if task.cancels:
            self.fields["cancels"] = self._cancels(task.cancels)
        if task.cache is not None:
            key = self._read(self.templates.text(task.cache.key, (*self.place, "cache", "key")))
            self.fields["cache"] = CachePlan(key, task.cache.lifetime)
        if task.stage is not None:
            self.fields["stages"] = self._stages(task.stage)
        if task.output is not None:
            self.fields["output_schema"] = self._output_schema(task.output)

    def _stages(self, stage: StagesOfTask) -> Stages:
        for word in ("start", "success", "failure"):
            name = getattr(stage, word)
            if name is not None and name not in self.definition.stages:
                self.problems.add_unknown((*self.place, "stage", word), "stage", name, self.definition.stages)
        return Stages(stage.start or "", stage.success or "", stage.failure or "")

    def _output_schema(self, schema: dict[str, Any]) -> bytes:
        try:
            InputSchema("output", schema)
        except SchemaRefused as refusal:
            allowed = "JSON Schema, without references to other files"
            self.problems.add((*self.place, "output", *refusal.place), str(refusal), allowed)
        return msgspec.json.encode(schema)

    def _cancels(self, names: list[str]) -> tuple[int, ...]:
        """The tasks of the same draft that are stopped; not what is around this one, which would stop it, too."""
        own = self.draft.index[self.number]
        around, level = {own}, self.level
        while level.group >= 0 and level.outer is not None:
            around.add(self.draft.index[level.group])
            level = level.outer
        found = [_place_to_go(name, self.level, (*self.place, "cancels", at), self.problems) for at, name in enumerate(names)]
        for at, number in enumerate(found):
            if number in around:
                message = f"{names[at]!r} is the task itself, or around it, and ends with it anyway"
                self.problems.add((*self.place, "cancels", at), message, "other tasks")
        return tuple(dict.fromkeys(found))

    # Recovery

    def _recovery(self) -> tuple[Recovery, ...]:
        if self.task.recovery is not None:
            return recovery_plans(self.task.recovery, self.level, (*self.place, "recovery"), self.problems)
        return self.recoveries[self.draft.depth > 0]

    # Kinds

    def _add_kind(self) -> None:
        for word, add in self._KINDS.items():
            part = getattr(self.task, word)
            if part is not None:
                add(self, part)

    def _add_wait(self, wait: Any) -> None:
        if wait.duration is not None:
            self.fields |= {"kind": Kind.WAIT, "wait_ms": wait.duration}
        elif wait.until is not None:
            until = self._read(self.templates.text(wait.until, (*self.place, "wait", "until")))
            self.fields |= {"kind": Kind.WAIT, "until": until}
        else:
            self.fields |= {"kind": Kind.SIGNAL, "signal": wait.signal, "is_kept": wait.kept}

    def _add_check(self, check: str) -> None:
        self.fields |= {"kind": Kind.CHECK, "check": self._condition(check, "check")}

    def _add_approval(self, approval: Any) -> None:
        request = self._read(self.templates.template(approval.request, (*self.place, "approval", "request")))
        escalate = tuple(EscalationPlan(step.after, tuple(step.by)) for step in approval.escalate)
        rejection_fails = approval.on_reject == "fail"
        by, deadline_ms = tuple(approval.by), approval.deadline or 0
        plan = ApprovalPlan(by, approval.count, request, deadline_ms, escalate, rejection_fails)
        self.fields |= {"kind": Kind.APPROVAL, "approval": plan}

    def _add_run(self, run: Any) -> None:
        inputs = self._read(self.templates.parameters(run.inputs, (*self.place, "run", "inputs")))
        self.fields |= {"kind": Kind.CHILD, "child": ChildPlan(run.definition, inputs, run.wait, run.on_cancel == "cancel")}

    def _add_group(self, group: Any) -> None:
        inner = self.draft.groups.get(self.number)
        numbers = inner.numbers.values() if inner else ()
        members = tuple(sorted(self.draft.index[number] for number in numbers))
        first = tuple(member for member in members if not self.draft.needs[member])
        quorum = getattr(group, "join", 0)
        if quorum > len(members) > 0:
            message = f"join asks for {quorum} of {len(members)} tasks"
            self.problems.add((*self.place, "parallel", "join"), message, "as many as there are tasks")
        self.fields |= {"kind": Kind.GROUP, "group": GroupPlan(members, first, quorum, getattr(group, "rest", "") == "finish")}

    def _add_map(self, copies: Any) -> None:
        over = self._condition(copies.over, "map", "over")
        self.fields["kind"] = Kind.MAP
        if body := self.draft.bodies.get(self.number):
            body.over = over

    def _add_repeat(self, repeat: Any) -> None:
        self.fields["kind"] = Kind.REPEAT
        if body := self.draft.bodies.get(self.number):
            word, text = ("until", repeat.until) if repeat.again is None else ("while", repeat.again)
            place, negated = (*self.place, "repeat", word), repeat.again is None
            body.again, reads = body.top.compiler.condition(text, place, negated=negated)
            body.outer_reads.update(read for read in reads if read >> LOCAL_BITS < body.depth)

    def _add_sync_point(self, sync: Any) -> None:
        self.fields |= {"kind": Kind.SYNC, "sync": SyncPlan(sync.point, sync.parties)}

    def _add_vote(self, vote: Any) -> None:
        question = self._read(self.templates.text(vote.question, (*self.place, "vote", "question")))
        capability = vote.voters.capability or ""
        plan = VotePlan(
            question=question,
            options=tuple(vote.options),
            capability=capability,
            agents=tuple(dict.fromkeys(vote.voters.agents)),
            topic=vote.topic or capability or self.draft.ids[self.number],
            rule=vote.rule,
            weights=tuple(sorted(vote.weights.items())),
            veto=tuple(sorted(set(vote.veto))),
            quorum=vote.quorum or 0,
            deadline_ms=vote.deadline or DEADLINE_MS,
            tie=vote.tie,
            chair=vote.chair or "",
            no=vote.no,
            on_reject=vote.on_reject,
        )
        self.fields |= {"kind": Kind.VOTE, "vote": plan}

    _KINDS: ClassVar[dict[str, Callable[["_Making", Any], None]]] = {
        "wait": _add_wait,
        "check": _add_check,
        "approval": _add_approval,
        "run": _add_run,
        "parallel": _add_group,
        "sequential": _add_group,
        "map": _add_map,
        "repeat": _add_repeat,
        "sync_point": _add_sync_point,
        "vote": _add_vote,
    }


def recovery_plans(steps: Iterable[RecoveryStep], level: Level, place: Place, problems: Problems) -> tuple[Recovery, ...]:
    """Strategies with the tasks that they name as numbers, of the same draft as the level."""
    found: list[Recovery] = []
    for position, step in enumerate(steps):
        if step.rollback is not None:
            to = -1
            if step.rollback.to is not None:
                to = _place_to_go(step.rollback.to, level, (*place, position, "rollback", "to"), problems)
            found.append(Recovery("rollback", step.rollback.times, to))
        elif step.restore is not None:
            found.append(Recovery("restore", step.restore.times))
        else:
            found.append(Recovery("incident" if step.incident is not None else "degrade"))
    return tuple(found)


def _place_to_go(name: str, level: Level, place: Place, problems: Problems) -> int:
    own = level.maps[: len(level.maps) - _outside(level)]
    for names in own:
        if name in names:
            return names[name] & ((1 << LOCAL_BITS) - 1)
    problems.add_unknown(place, "task", name, [name for names in own for name in names])
    return -1


def _outside(level: Level) -> int:
    """How many of a level's maps are those of outer drafts."""
    around = level.draft.top.outer
    return len(around.maps) if around else 0
