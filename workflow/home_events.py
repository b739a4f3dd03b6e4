"""A run moves from one site to another, as facts: it is asked for, given up, given, and taken."""

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
    RunCreated said: a cloud that has lost its own stream knows the run from here."""

    command: str
    site: str
    epoch: int
    body: bytes
    created: RunCreated


class FragmentTaken(Event, frozen=True):
    """The site became the run's home under `epoch`, beginning with this state, and decides for it from here on."""

    epoch: int
    body: bytes


class SiteDrainOrdered(Event, frozen=True):
    """An operator empties a site: nothing new is placed there, and what can go moves to other sites (`to`, if not empty)."""

    site: str
    draining: bool
    to: str
    reason: str
    at_ms: int


register(YieldRequested, FragmentYielding, FragmentYielded, FragmentMoved, FragmentTaken, SiteDrainOrdered)
