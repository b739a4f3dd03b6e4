"""A run moves from one site to another, as facts: it is asked for, given up, given, and taken."""

import msgspec

from sync.accounts import Account
from workflow.event import Blob
from workflow.events import Event, RunCreated, register


class YieldRequested(Event, frozen=True):
    """An intent of the cloud for the home that has the run under `epoch`: give it up for another site (`to`; empty: which one is
    decided then), or, if `wanted` is false, keep it after all."""

    command: str
    epoch: int
    wanted: bool = True
    to: str = ""
    reason: str = ""


class FragmentYielding(Event, frozen=True):
    """The home took the intent: it gives out nothing new, and gives the run up once nothing of it is in anybody's hands."""

    command: str
    wanted: bool = True
    reason: str = ""


class FragmentYielded(Event, frozen=True):
    """The home decides no more, and has dropped the run; `hash` is SHA-256 of its saved state at `version`."""

    command: str
    epoch: int
    version: int
    hash: bytes


class FragmentMoved(Event, frozen=True):
    """The cloud gave the run to another site under a new epoch, with its whole state (see workflow.moving). `created` says what
    RunCreated said: a cloud that has lost its own stream knows the run from here. `taken_from`: the site that had the run and has
    not given it up (a forced move); what was in its agents' hands has an unknown outcome in `body`. `begun_ms`:
    since when (UTC) the run's whole time counts, if it has a timeout; 0 from a cloud of the version before. `spent`: what homes
    of before have decided under the cloud's mandate, as far as the cloud has heard; None: nothing."""

    command: str
    site: str
    epoch: int
    body: bytes
    created: RunCreated
    taken_from: str = ""
    begun_ms: int = 0
    spent: Account | None = None


class FragmentTaken(Event, frozen=True):
    """The site became the run's home under `epoch`, beginning with this state, and decides for it from here on. `begun_ms` and
    `spent` as in FragmentMoved."""

    epoch: int
    body: bytes
    begun_ms: int = 0
    spent: Account | None = None


class FragmentSuperseded(Event, frozen=True):
    """The cloud tells a site that the run has another home (`to`) under the later `epoch`: what it decides counts no more."""

    epoch: int
    to: str


class FragmentDropped(Event, frozen=True):
    """The site has heard that the run has another home under `epoch`, and has nothing of it any more. All that it wrote of the
    run before stands before this in its stream."""

    epoch: int


class HomeConfirmed(Event, frozen=True):
    """The cloud tells a site that greets it after a while that it is the run's home still, under `epoch`."""

    epoch: int


class FactFound(Event, frozen=True):
    """At a site that has dropped the run, an agent was done with what it still had in hand."""

    task: int
    attempt: int
    agent: str
    output: bytes
    blob: Blob | None = None


class FactTold(Event, frozen=True):
    """The cloud tells the run's home what became of an attempt at an earlier one, `site`: it was done, and this came of it.
    `once`: it was not to be repeated, so if the run has ended meanwhile, somebody is to know."""

    site: str
    task: int
    attempt: int
    agent: str
    output: bytes
    blob: Blob | None = None
    once: bool = False


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """How an attempt ended that was not done. `never_begun`: it had no effect at all, and `message` says why."""

    task: int
    attempt: int
    agent: str  # Empty: whoever the home knows to have had it.
    message: str
    code: str = ""
    retryable: bool = False
    recoverable: bool = False
    retry_after_ms: int = 0
    never_begun: bool = False


class FailureFound(Event, frozen=True):
    """At a site that has dropped the run, an agent has ended what it still had in hand without having done it."""

    failure: Failure


class FailureTold(Event, frozen=True):
    """The cloud tells the run's home how an attempt ended at an earlier one, `site`: it was not done."""

    site: str
    failure: Failure


class FactRefused(Event, frozen=True):
    """The home cannot take what came of an attempt at an earlier home: `theirs` is what was done there, `ours` how the task
    stands here. Both have happened: a person sees to it. `output` is what came of it at `site`, by `agent`."""

    task: int
    theirs: str
    ours: str
    site: str = ""
    agent: str = ""
    output: bytes = b""
    blob: Blob | None = None


class DecisionRefused(Event, frozen=True):
    """What the home of an earlier `epoch` decided after the run had another one, `home` under `home_epoch`: it does not count."""

    site: str
    epoch: int
    home: str
    home_epoch: int
    decision: str
    detail: str


class HomeDoubted(Event, frozen=True):
    """An agent did not obey what the home ordered under `epoch`: it has had orders of the run from a home of the later epoch
    `by`. Nothing new begins here until the cloud says whose the run is."""

    agent: str
    epoch: int
    by: int


class SiteDrainOrdered(Event, frozen=True):
    """An operator empties a site: nothing new is placed there, and what can go moves to other sites (`to`, if not empty)."""

    site: str
    draining: bool
    to: str
    reason: str
    at_ms: int


register(YieldRequested, FragmentYielding, FragmentYielded, FragmentMoved, FragmentTaken, SiteDrainOrdered)
register(FragmentSuperseded, FragmentDropped, HomeConfirmed, FactFound, FactTold, FactRefused, DecisionRefused, HomeDoubted)
register(FailureFound, FailureTold)
