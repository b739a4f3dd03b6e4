"""Safeguards of a member at work, taken away one at a time: which weather notices, by which guarantee, and the first seed.

`python -m tests.coordination.group.simulated_ablations [NAME ...]` looks for the first seeds anew, among 300.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import structlog

from coordination.group import driver as members
from coordination.group import storing, tail
from coordination.group.copies.driver import Copies
from coordination.group.log import Done, GroupLog, Proposal
from coordination.group.replica.driver import Replica
from coordination.group.storing import HARD, Kept, Statement, put_entries
from coordination.group.writing.driver import Step, Writing
from coordination.raft.marks import Marks
from coordination.raft.raft import Raft
from coordination.raft.values import Entry, HardState, Ready, Role, Snapshot
from sync.commit import Commit
from tests.coordination.group.simulated import World
from tests.coordination.group.simulated_copies import COPIES, CopiesWorld
from tests.coordination.group.simulated_faults import Weather

SEEDS = 300
PLAIN = Weather()
SAFETY = "election safety|log matching|state machine safety|acknowledges|acknowledged"
# Elections that are waylaid, and logs that are cut so often that whoever was away needs a copy.
BALLOTS = Weather(
    faults=("ballot",) * 3 + ("kill", "isolate"), every_s=(0.1, 0.6), settings=(("keep_entries", 2), ("compact_entries", 5))
)
FULL = Weather(faults=("full", "full", "kill", "part", "transfer"), every_s=(0.2, 1.0))
# Disks and lines so slow that a member knows what is committed long before it has it.
CROWDED = Weather(faults=("kill", "isolate", "slow", "stall"), every_s=(0.2, 1.0), write_s=0.02)


@dataclass(frozen=True)
class Ablation:
    """`seed`: the first that notices. `says`: how it says so. What one remembers of others is missing, too: it would notice some
    of what is missing, and keep the guarantees."""

    remove: Callable[[pytest.MonkeyPatch], None]
    seed: int
    says: str = SAFETY
    sky: Weather = PLAIN
    size: int = 3
    duration_s: float = 20.0
    world: type[World] = World

    def told(self, seed: int, *, whole: bool = False) -> str:
        """How the seed ends: what broke, or nothing. `whole`: with the safeguard in its place."""
        with pytest.MonkeyPatch.context() as patch:
            if not whole:
                _remember_nothing(patch)
                self.remove(patch)
            try:
                self.world(seed, self.size, self.sky).tell(self.duration_s)
            except AssertionError as broken:
                return str(broken)
        return ""

    def notices(self, seed: int) -> bool:
        """Does this seed notice, and name the guarantee?"""
        return re.search(self.says, self.told(seed)) is not None


def _remember_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Marks, "compare", lambda self, witness, told, ours: None)
    patch.setattr(Marks, "trusts", lambda self, node, says: True)


def _leave_at_once(patch: pytest.MonkeyPatch) -> None:
    whole = Replica._do

    def do(self: Replica, ready: Ready) -> None:
        self._send([message for message in ready.messages if message not in ready.early])
        whole(self, ready)

    patch.setattr(Replica, "_do", do)


def _answer_at_once(patch: pytest.MonkeyPatch) -> None:
    def submit(self: GroupLog, commit: Commit, done: Done) -> None:
        if self._ended is not None:
            done(self._ended)
        else:
            self._propose(Proposal(b"", lambda error: None, self.boot, commit))
            done(None)

    patch.setattr(GroupLog, "submit", submit)


def _remember(patch: pytest.MonkeyPatch, forget: Callable[[HardState], HardState]) -> None:
    whole = storing.load

    def load(*args: Any) -> Kept:
        kept = whole(*args)
        stored = kept.stored
        kept.stored = type(stored)(forget(stored.hard_state), stored.entries, stored.snapshot, stored.applied)
        return kept

    patch.setattr(members, "load", load)


def _forget_votes(patch: pytest.MonkeyPatch) -> None:
    _remember(patch, lambda hard: HardState(hard.term, "", hard.commit))


def _forget_terms(patch: pytest.MonkeyPatch) -> None:
    _remember(patch, lambda hard: HardState(0, "", hard.commit))


def _keep_overwritten(patch: pytest.MonkeyPatch) -> None:
    def put(entries: Sequence[Entry], _last: int) -> list[Statement]:
        return put_entries(entries, 0)

    patch.setattr(tail, "put_entries", put)


def _copy_votes(patch: pytest.MonkeyPatch) -> None:
    whole = Copies.install

    async def install(self: Copies, snapshot: Snapshot, own: Sequence[Statement]) -> None:
        await whole(self, snapshot, [statement for statement in own if statement[1][0] != HARD])

    patch.setattr(Copies, "install", install)


def _write_apart(patch: pytest.MonkeyPatch) -> None:
    def ask(self: Writing, step: Step) -> None:
        self._asked += 1

        def done(error: BaseException | None) -> None:
            self._loop.call_soon_threadsafe(self._told, step, error)

        for commit in step.commits[:-1]:
            self._log.submit(commit, lambda _error: None)
        self._log.submit(step.commits[-1], done)

    patch.setattr(Writing, "_ask", ask)


def _read_at_once(patch: pytest.MonkeyPatch) -> None:
    def answer(self: Replica, applied: int) -> None:
        waiting, self._read_at = self._read_at, []
        for index, future in waiting:
            if not future.done():
                future.set_result(max(index, applied))

    patch.setattr(Replica, "_answer_reads", answer)


def _lead_at_once(patch: pytest.MonkeyPatch) -> None:
    whole = Replica._look_at_role

    def look(self: Replica) -> None:
        led = self._led
        whole(self)
        if self._led and self._led != led and self.raft.role is Role.LEADER:
            Replica._lead(self, self._led)

    patch.setattr(Replica, "_look_at_role", look)


def _give_up_what_was_full(patch: pytest.MonkeyPatch) -> None:
    def retry(self: Writing) -> None:
        self._log.reset()
        self.problem = ""
        for step in self._steps:
            step.durable = True
        self._settle()

    patch.setattr(Writing, "_retry", retry)


def _answer_when_proposed(patch: pytest.MonkeyPatch) -> None:
    whole = Replica.wait_for

    def wait_for(self: Replica, entry: Entry, proposal: Proposal) -> None:
        whole(self, entry, Proposal(b"", lambda error: None, proposal.term, proposal.commit))
        proposal.done(None)

    patch.setattr(Replica, "wait_for", wait_for)


def _settle_out_of_order(patch: pytest.MonkeyPatch) -> None:
    def settle(self: Writing) -> None:
        while self._steps:
            self._settled(self._steps.popleft())

    patch.setattr(Writing, "_settle", settle)


def _found_anew(patch: pytest.MonkeyPatch) -> None:
    whole = Raft.__post_init__

    def begin(self: Raft) -> None:
        found = self.stored
        self.stored = type(found)(found.hard_state, found.entries, found.snapshot, found.snapshot.index)
        whole(self)

    patch.setattr(Raft, "__post_init__", begin)


ABLATIONS: dict[str, Ablation] = {
    "messages_wait_for_the_disk": Ablation(_leave_at_once, 0),
    "answers_wait_for_a_majority": Ablation(_answer_at_once, 0),
    "proposals_are_answered_when_committed": Ablation(_answer_when_proposed, 0),
    "votes_outlive_a_restart": Ablation(_forget_votes, 1, "election safety", BALLOTS),
    "terms_outlive_a_restart": Ablation(_forget_terms, 0, "election safety", BALLOTS),
    "votes_outlive_a_copy": Ablation(_copy_votes, 0, "election safety", replace(BALLOTS, ambushes=("copy",))),
    "overwritten_entries_go": Ablation(_keep_overwritten, 8, "log matching"),
    "applied_with_its_index": Ablation(_write_apart, 2, "positions are dense", CROWDED),
    "applied_index_is_believed": Ablation(_found_anew, 0, "positions are dense"),
    "reads_wait_for_what_is_applied": Ablation(_read_at_once, 42, "a read at", CROWDED),
    "leads_once_it_knows_all": Ablation(_lead_at_once, 0, SAFETY + "|positions are dense", CROWDED),
    "what_was_full_is_written_again": Ablation(_give_up_what_was_full, 0, SAFETY + "|positions are dense", FULL),
    "set_back_is_noticed": Ablation(_remember_nothing, 0, SAFETY + "|a read at", COPIES, world=CopiesWorld),
    "steps_settle_when_durable": Ablation(_settle_out_of_order, 0, SAFETY, CROWDED),
}

WEATHERS = {"plain": PLAIN, "ballots": BALLOTS, "full": FULL, "crowded": CROWDED}


def tried(name: str) -> tuple[bool, str]:
    """Is it noticed by its first seed that the safeguard is missing, and what breaks there with it in its place?"""
    ablation = ABLATIONS[name]
    return ablation.notices(ablation.seed), ablation.told(ablation.seed, whole=True)


def main(names: list[str]) -> None:
    """Print the first seed of each, and what it tells."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    for name, ablation in ABLATIONS.items():
        if not names or name in names:
            first = next((seed for seed in range(SEEDS) if ablation.notices(seed)), None)
            told = "nothing notices" if first is None else ablation.told(first)[:110]
            silent = "" if first is None else ablation.told(first, whole=True)
            known = "" if first == ablation.seed else f"(not {ablation.seed})"
            print(name, first, known, told, silent and f"WHOLE: {silent}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
