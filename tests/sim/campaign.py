"""Many seeds: what broke, and what never happened although it is there to be tried."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from tests.sim.plan import KINDS, VERBS
from tests.sim.world import Outcome, run_seed

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
    "late_message_of_old_connection",
    "connection_reset",
    "message_lost",
    "session_lease_expired",
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
EXPECTED = (*(f"fault_{kind}" for kind in KINDS), *(f"verb_{verb}" for verb in VERBS), *SAFEGUARDS, *EVENTS)


@dataclass
class Campaign:
    """The outcomes of many seeds together: `seen` counts the seeds in which something occurred."""

    seeds: int = 0
    virtual_s: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    broken: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.virtual_s += outcome.virtual_s
        self.seen.update(outcome.seen.keys())
        if outcome.broken:
            self.broken.append(outcome)

    def never(self) -> list[str]:
        """What should have occurred and did not."""
        return [name for name in EXPECTED if not self.seen[name]]

    def told(self) -> str:
        """Each broken seed in a line, and the last steps of the first."""
        lines = [f"seed {outcome.seed}: {outcome.broken}" for outcome in self.broken]
        return "\n".join((*self.broken[0].last[-30:], f"{len(lines)} of {self.seeds} seeds broke:", *lines[:20]))


def run_campaign(seeds: Iterable[int], pool: Executor) -> Campaign:
    """Run the seeds in the pool's processes."""
    campaign = Campaign()
    for outcome in pool.map(run_seed, seeds, chunksize=5):
        campaign.add(outcome)
    return campaign
