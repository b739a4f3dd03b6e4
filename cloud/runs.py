"""A run as the cloud knows it: what was asked, where its fragments are, and a replica of each, folded from its home's events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from cloud.reports import NOTHING, Place, Reports, TaskReport, is_over, share_done
from cloud.views import RunSummary
from sync.values import RunId
from workflow.contract import Contract
from workflow.events import FragmentAdopted, FragmentReleased, RunCreated
from workflow.fair import PRIORITY
from workflow.fragment import Fragment
from workflow.home_events import FragmentMoved, FragmentTaken
from workflow.moving import restore_moved
from workflow.origin import Origin
from workflow.plan import Plan
from workflow.progress import UNCOUNTED, percent_of, percent_reached
from workflow.saved import Saved, load_saved
from workflow.shelf import Shelf
from workflow.states import COMPLETED, FAILED, PENDING, RECONCILE, STUCK
from workflow.tasks import Role


class Child(msgspec.Struct, array_like=True):
    """A run that a task of this one asked for (-1: a rule). `waits`: the task waits for its end. Once it has ended with an
    `outcome`, `is_told` says that the stream for the task's site has it. `here`: the task's site started it by itself."""

    task: int
    site: str
    waits: bool
    outcome: str = ""
    detail: str = ""
    output: bytes = b""
    is_told: bool = False
    here: bool = False


class SavedRun(msgspec.Struct, array_like=True):
    """A run's state at the cloud: its tombstone once it has ended."""

    definition: str
    inputs: bytes
    labels: dict[str, str]
    created_ms: int
    sites: list[str]
    places: bytes
    fragments: list[bytes]
    outcome: str
    detail: str
    ended_ms: int
    cancelling: str = ""
    priority: int = PRIORITY
    fairness_key: str = ""
    unreleased: tuple[str, ...] = ()
    output: bytes = b""
    parent: str = ""
    depth: int = 0
    children: dict[str, Child] = {}
    reopening: bool = False
    held: str = ""
    origin: Origin | None = None
    contract: Contract | None = None
    epoch: int = 0


@dataclass(slots=True)
class Run:
    """One run. `fragments[i]` is the replica of the fragment at `sites[i]`, None until that site has adopted it.

    Fragments are released all at once, so `unreleased` is empty, unless the release to a site was lost before it got there.
    `reopening`: it had ended, and its homes are asked to go on.
    """

    id: RunId
    plan: Plan
    inputs: bytes
    labels: dict[str, str]
    created_ms: int
    sites: list[str]
    places: bytes
    fragments: list[Fragment | None]
    outcome: str = ""
    detail: str = ""
    ended_ms: int = 0
    waits_for: str = ""
    cancelling: str = ""
    priority: int = PRIORITY
    fairness_key: str = ""
    unreleased: tuple[str, ...] = ()
    output: bytes = b""
    parent: str = ""
    depth: int = 0
    children: dict[str, Child] = field(default_factory=dict)
    reopening: bool = False
    held: str = ""  # Why a run that has no home yet is paused.
    origin: Origin | None = None  # With what it has taken over, until all its fragments are adopted: then they have it.
    contract: Contract | None = None
    epoch: int = 0  # Under which its present home has it, if it has moved there from another.
    reports: dict[Place, TaskReport] = field(default_factory=lambda: NOTHING)  # In memory only.

    @classmethod
    def create(cls, run: str, plan: Plan, created: RunCreated) -> "Run":
        """A run that was accepted, and has no place yet."""
        return cls(
            RunId(run),
            plan,
            created.inputs,
            created.labels,
            created.created_ms,
            [],
            b"",
            [],
            priority=created.priority,
            fairness_key=created.fairness_key,
            parent=created.parent,
            depth=created.depth,
            origin=created.origin,
            contract=created.contract,
        )

    def release(self, event: FragmentReleased) -> None:
        """The stream for one of the run's sites tells it of the run."""
        if self.epoch:
            return  # It has moved since: a cloud that has lost its disk is told of it again.
        left = self.unreleased if self.sites else event.sites
        self.sites, self.places = event.sites, event.placement
        self.fragments = self.fragments or [None] * len(event.sites)
        self.unreleased = tuple(site for site in left if site != event.site)
        self.waits_for = ""

    def adopt(self, event: FragmentAdopted) -> None:
        """The site has become the fragment's home."""
        fragment = Fragment.adopt(self.id, self.plan, event)
        fragment.quiet()
        if fragment.inputs == self.inputs:
            fragment.inputs = self.inputs  # One copy.
        self.fragments[self.sites.index(event.site)] = fragment
        self.unreleased = tuple(site for site in self.unreleased if site != event.site)
        if self.origin is not None and None not in self.fragments:
            self.origin = self.origin.without_seeds()

    def untell(self, site: str) -> None:
        """The stream for the site begins anew: what it has not answered, it has not been told."""
        if site in self.sites and self.fragment(site) is None and site not in self.unreleased:
            self.unreleased = (*self.unreleased, site)
        for child in self.children.values():
            child.is_told = child.is_told and child.site != site

    def move(self, event: FragmentMoved) -> None:
        """The stream for another site gives it the run with its whole state."""
        if event.epoch < self.epoch:
            return
        if event.site in self.sites:
            self._give_back(event)
            return
        for child in self.children.values():
            child.site, child.is_told = event.site, False
        self.sites, self.places, self.unreleased = [event.site], bytes(len(self.plan.tasks)), ()
        self.epoch, self.waits_for = event.epoch, ""
        self._begin_with(event.site, event.body)

    def _give_back(self, event: FragmentMoved) -> None:
        """The site had lost its log, and has its part again. What it had begun by itself the cloud looks after from here on."""
        if (known := self.fragment(event.site)) is not None and known.epoch > event.epoch:
            return
        for child in (child for child in self.children.values() if child.site == event.site):
            child.is_told = child.here = False
        self.epoch = event.epoch if len(self.sites) == 1 else 0
        self._begin_with(event.site, event.body)

    def take(self, event: FragmentTaken, site: str) -> None:
        """The site has become the home of the run, or of its part again, and began with this state."""
        if event.epoch >= self.epoch:
            self.epoch = event.epoch if len(self.sites) == 1 else 0
            self._begin_with(site, event.body)

    def _begin_with(self, site: str, body: bytes) -> None:
        fragment = restore_moved(self.id, self.plan, body)
        fragment.quiet()
        fragment.news = None
        if len(self.sites) == 1:
            self.fragments = [fragment]
        else:
            self.fragments[self.sites.index(site)] = fragment

    def created(self) -> RunCreated:
        """How it began, as its events say it."""
        asked = self.plan.ref, self.inputs, self.labels, self.created_ms, self.priority, self.fairness_key
        return RunCreated(*asked, self.parent, self.depth, self.origin, self.contract)

    def fragment(self, site: str) -> Fragment | None:
        """The replica of the fragment at the site."""
        return self.fragments[self.sites.index(site)] if site in self.sites else None

    def name_of(self, site: str, task: int) -> str:
        """What the task of a site's fragment is called."""
        fragment = self.fragment(site)
        if task < len(self.plan.tasks):
            return self.plan.tasks[task].id
        return fragment.id_of(task) if fragment is not None and task < len(fragment.states) else f"#{task}"

    def done_before(self) -> frozenset[int]:
        """The tasks that it has taken over from the run that it was forked from, until its sites have them."""
        return frozenset(seed.task for seed in self.origin.seeds) if self.origin is not None else frozenset()

    def is_unsettled(self) -> bool:
        """Is there an attempt whose outcome nobody knows, so that a person must settle it?"""
        return any(f is not None and not f.outcome and f.states.find(RECONCILE) >= 0 for f in self.fragments)

    def forget_news(self) -> None:
        """What crosses between sites is told anew when they greet."""
        for fragment in self.fragments:
            if fragment is not None:
                fragment.news = None

    def rests(self) -> bool:
        """Does nothing happen in it before its site tells of it? Runs of several sites, those with children, and those that
        something is still to be told of, are looked through whenever a site greets, so they stay whole."""
        if len(self.sites) != 1 or self.cancelling or self.unreleased or self.children or self.outcome:
            return False
        fragment = self.fragments[0]
        return fragment is not None and fragment.rests()

    def ending(self) -> tuple[str, str]:
        """How the run ended, once all its fragments have: failed before cancelled before completed. Empty while any goes on."""
        if self.reopening:
            return ("", "")
        outcomes = []
        for fragment in self.fragments:
            if fragment is None or not fragment.outcome:
                return ("", "")
            outcomes.append((fragment.outcome, fragment.detail))
        for worst in ("failed", "cancelled"):
            for outcome, detail in outcomes:
                if outcome == worst:
                    return (outcome, detail)
        return ("completed", "") if outcomes else ("", "")

    def reopen(self) -> None:
        """It has not ended after all, if its homes agree."""
        self.outcome = self.detail = self.cancelling = ""
        self.output = b""
        self.ended_ms, self.reopening = 0, True

    def version(self) -> int:
        """How many events its replicas have folded."""
        return sum(fragment.version for fragment in self.fragments if fragment is not None)

    def state(self) -> str:
        """pending (no site has adopted it), active, paused (as a whole, at any of its homes), or how it ended."""
        if self.outcome:
            return self.outcome
        if self.held or any(f is not None and f.extras is not None and f.extras.paused and not f.outcome for f in self.fragments):
            return "paused"
        return "active" if any(self.fragments) else "pending"

    def save(self) -> bytes:
        """The whole state as bytes."""
        return msgspec.msgpack.encode(
            SavedRun(
                self.plan.ref,
                self.inputs,
                self.labels,
                self.created_ms,
                self.sites,
                self.places,
                [b"" if fragment is None else fragment.save() for fragment in self.fragments],
                self.outcome,
                self.detail,
                self.ended_ms,
                self.cancelling,
                self.priority,
                self.fairness_key,
                self.unreleased,
                self.output,
                self.parent,
                self.depth,
                self.children,
                self.reopening,
                self.held,
                self.origin,
                self.contract,
                self.epoch,
            )
        )

    def summary(self) -> RunSummary:
        """The run in one line."""
        live = [len(fragment.live) for fragment in self.fragments if fragment is not None]
        return RunSummary(
            id=self.id,
            definition=self.plan.ref,
            state=self.state(),
            created=self.created_ms,
            tasks=counted(self.states()) if any(self.fragments) else sum(t.role is Role.WORK for t in self.plan.tasks),
            completed=self.completed(),
            running=sum(live),
            failed=self.failed(),
            sites=self.sites,
            labels=self.labels,
            ended=self.ended_ms,
            detail=self.detail,
            cancelling=bool(self.cancelling) and not self.outcome,
            priority=self.priority,
            fairness_key=self.fairness_key,
            percent=self.percent(),
            parent=self.parent,
            forked_from=self.origin.run if self.origin is not None else "",
            partial=self.outcome == "completed" and self.failed() > 0,
        )

    def states(self) -> bytes | bytearray:
        """The state of each task, as its own site has it; those that the definition has not come after the others."""
        return merged_states(len(self.plan.tasks), self.places, [None if f is None else f.states for f in self.fragments])

    def completed(self) -> int:
        """How many tasks are done."""
        return self.states().count(COMPLETED)

    def failed(self) -> int:
        """How many tasks have failed for good."""
        states = self.states()
        return states.count(FAILED) + states.count(STUCK)

    def retries(self) -> int:
        """How many attempts there were after the first of their task."""
        replicas = [fragment for fragment in self.fragments if fragment is not None and fragment.attempts is not None]
        return sum(max(0, f.attempt(task) - 1) for f in replicas for task in range(len(f.states)))

    def percent(self) -> int:
        """How far the run is; of one that has ended otherwise than completed, how far it came."""
        if self.outcome:
            return 100 if self.outcome == "completed" else percent_reached(self.states())
        return percent_of(self.states(), share_done(self))


def merged_states(tasks: int, places: bytes, fragments: Sequence[bytes | bytearray | None]) -> bytes | bytearray:
    """The state of each task at its own site. `places[task]` is the number of its fragment; None is one not adopted yet."""
    if len(fragments) == 1 and fragments[0] is not None:
        return fragments[0]
    merged = bytearray(tasks)
    for task, place in enumerate(places):
        states = fragments[place]
        merged[task] = PENDING if states is None else states[task]
    for states in fragments:
        merged += states[tasks:] if states is not None else b""
    return merged


def counted(states: bytes | bytearray) -> int:
    """How many tasks a run has, but for those that count in nothing."""
    return len(states) - sum(map(states.count, UNCOUNTED))


def created_by(released: FragmentReleased) -> RunCreated:
    """The beginning of a run that is known from its release alone: the cloud's own stream was lost with its disk."""
    priority = released.priority if released.priority >= 0 else PRIORITY
    asked = released.definition, released.inputs, released.labels, released.created_ms
    return RunCreated(
        *asked, priority, released.fairness_key, released.parent, released.depth, released.origin, released.contract
    )


def restore_run(run: str, plan: Plan, saved: SavedRun) -> Run:
    """The run that `Run.save` wrote."""
    return Run(
        id=RunId(run),
        plan=plan,
        inputs=saved.inputs,
        labels=saved.labels,
        created_ms=saved.created_ms,
        sites=saved.sites,
        places=saved.places,
        fragments=[_replica(run, plan, body) for body in saved.fragments],
        outcome=saved.outcome,
        detail=saved.detail,
        ended_ms=saved.ended_ms,
        cancelling=saved.cancelling,
        priority=saved.priority,
        fairness_key=saved.fairness_key,
        unreleased=saved.unreleased,
        output=saved.output,
        parent=saved.parent,
        depth=saved.depth,
        children=saved.children,
        reopening=saved.reopening,
        held=saved.held,
        origin=saved.origin,
        contract=saved.contract,
        epoch=saved.epoch,
    )


class Runs(Shelf[Run]):
    """All runs that have not ended. What is packed is active, has one site, and waits."""

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        super().__init__(Run.save, self._restore, Run.rests)
        self._plans = plans
        self.reports = Reports()

    def _restore(self, run: str, body: bytes) -> Run:
        saved = load_saved_run(body)
        restored = restore_run(run, self._plans[saved.definition], saved)
        restored.reports = self.reports.of_runs.get(run, NOTHING)
        return restored

    def __delitem__(self, run: str) -> None:
        super().__delitem__(run)
        self.reports.forget(run)

    def note_report(self, site: str, run: str, task: int, report: TaskReport) -> bool:
        """A site passes on what an agent said. Is it news: of a run that is here, of an attempt that goes on, and more than a
        sign of life?"""
        if run not in self:
            return False
        known = None if self.is_packed(run) else self[run]  # In one at rest it can only be ahead of what was heard.
        if known is not None:
            fragment = known.fragment(site)
            if site not in known.sites or (fragment is not None and is_over(fragment, task, report)):
                return False
        before = self.reports.of_runs.get(run, NOTHING).get((site, task))
        reports = self.reports.note(run, site, task, report)
        if known is not None:
            known.reports = reports
        return before is None or before[:3] != report[:3]

    def state(self, run: str) -> str:
        """pending or active. Raises KeyError."""
        return "active" if self.is_packed(run) else self[run].state()


def load_saved_run(body: bytes) -> SavedRun:
    """Read what `Run.save` wrote."""
    return _SAVED.decode(body)


_SAVED = msgspec.msgpack.Decoder(SavedRun)


def _replica(run: str, plan: Plan, body: bytes) -> Fragment | None:
    if not body:
        return None
    saved: Saved = load_saved(body)
    fragment = Fragment.restore(RunId(run), plan, saved)
    fragment.quiet()
    return fragment
