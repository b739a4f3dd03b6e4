"""Many seeds: what broke, and what never happened although it is there to be tried."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from tests.sim import moving
from tests.sim.plan import KINDS, VERBS
from tests.sim.world import Outcome
from tests.sim.worlds import tell

SAFEGUARDS = (
    "failed_commit",  # Then the core is folded anew, and nothing of it had left.
    "log_commit failed; state folded anew from the log",
    "log_events of our own stream were lost; fetching them back",
    "restored_old_copy",
    "lost_unsynced_commit",
    "log_a clock is ahead; its stamps are not believed",
    "half_open",
    "refused_silent",  # Three heartbeats missed.
    "refused_again",
    "late_message_of_old_connection",  # Out of order across connections.
    "events_came_again",  # Over a later connection, to a node that had heard them.
    "connection_reset",
    "message_lost",
    "session_refolded",
    "agent_lost_unsynced",
    "agent_torn_write",
    "agent_disk_refused",
    "ambushed",  # A fault struck its victim while it wrote or spoke.
    "level_strong",
    "level_bounded",
    "begun_strong",
    "begun_while_cut_eventual",
    "lost_for_good",  # What the cloud did not hold yet.
    "killed_at_work",
    "reported_again",  # From the journal.
    "reported_twice",
    "repeated_effect",  # Of work that may be repeated.
    "settled_retry",
    "stopped_at_work",
    "asked_again",
    "unanswered",
    "replicas_compared",
)
EVENTS = (
    "AttemptResumed",
    "CancelRequested",
    "CommandAnswered",
    "FragmentAdopted",
    "FragmentCancelling",
    "FragmentEnded",
    "FragmentPaused",
    "FragmentReleased",
    "FragmentReopened",
    "FragmentResumed",
    "RunCreated",
    "RunEnded",
    "SignalReceived",
    "TaskAssigned",
    "TaskCancelled",
    "TaskCompleted",
    "TaskFailed",
    "TaskLost",
    "TaskSettled",
    "ValueHanded",
)
OF_DOCUMENTS = (
    "ConflictRecorded",
    "DocumentChanged",
    "DocumentCreated",
    "DocumentWritten",
    "EditProposed",
    "EditRefused",
    "MergingBegun",
    "ShareAsked",
    "conflict_first_at_home",
    "conflict_last_at_home",
    "document_overtaken",  # Edits made at once of which one could not stay.
    "document_put",
    "document_read",
    "document_transformed",
    "document_watched",
    "merged_dispute",
    "merged_written",
)
OF_MOVES = (
    "FragmentDropped",
    "FragmentMoved",
    "FragmentSuperseded",
    "FragmentTaken",
    "FragmentYielded",
    "SiteDrainOrdered",
    "YieldRequested",
    *(f"verb_{verb}" for verb in moving.VERBS),
)
OF_COORDINATION = (
    "DeadlockFound",
    "LeaderElected",
    "LeaderEnded",
    "PointReleased",
    "ResourcesLeased",
    "RunTendered",
    "TaskAwarded",
    "TaskDelegated",
    "VictimWounded",
    "VoteClosed",
    "awarded_auction",
    "awarded_consensus",
    "awarded_hierarchical",
    "awarded_leader",
    "met",
)
RARE = (
    "PointBroken",
    "TaskEscalated",
    "FactFound",
    "FactTold",
    "WriteQuarantined",
    "merged_refused_escrow_exhausted",
    "merged_write_ahead",
    "session_lease_expired",  # Agents leave a silent site before their lease is over.
)
"""What so few seeds show that only nightly campaigns are asked for it."""
EXPECTED = (
    *(f"fault_{kind}" for kind in KINDS),
    *(f"verb_{verb}" for verb in VERBS),
    *SAFEGUARDS,
    *EVENTS,
    *OF_DOCUMENTS,
    *OF_MOVES,
    *OF_COORDINATION,
)


@dataclass
class Campaign:
    """The outcomes of many seeds together: `seen` counts the seeds in which something occurred."""

    seeds: int = 0
    virtual_s: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    worlds: Counter[str] = field(default_factory=Counter)
    broken: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.virtual_s += outcome.virtual_s
        self.seen.update(name for name, count in outcome.seen.items() if count)
        self.worlds[outcome.world] += 1
        if outcome.broken:
            self.broken.append(outcome)

    def never(self, *more: str) -> list[str]:
        """What should have occurred and did not."""
        return [name for name in (*EXPECTED, *more) if not self.seen[name]]

    def told(self) -> str:
        """Each broken seed in a line, and the last steps of the first."""
        lines = [f"seed {outcome.seed} in {outcome.world}: {outcome.broken}" for outcome in self.broken]
        first = self.broken[0]
        again = f"again: python -m tests.sim {first.seed} --world {first.world}"
        return "\n".join((*first.last[-30:], f"{len(lines)} of {self.seeds} seeds broke:", *lines[:20], again))

    def summary(self) -> str:
        """How many seeds were told in which world, and in how many of them each thing occurred."""
        worlds, seen = (
            ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) for counted in (self.worlds, self.seen)
        )
        return f"{self.seeds} seeds: {worlds}\noccurred in: {seen}"


def run_campaign(seeds: Iterable[int], pool: Executor) -> Campaign:
    """Tell the seeds, each in its own world, in the pool's processes."""
    campaign = Campaign()
    for outcome in pool.map(tell, seeds, chunksize=5):
        campaign.add(outcome)
    return campaign
