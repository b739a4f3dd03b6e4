"""Heartbeats of attempts: who is here and says nothing of what he works on for too long is taken for stuck."""

from dataclasses import dataclass
from typing import ClassVar

from edge.deadlines import Deadlines
from edge.home import Home
from edge.inputs import AgentProgressed, ProgressHeard
from edge.part import Part, Step
from edge.roster import Slot
from edge.vigil import Report
from sync.values import Now


@dataclass(slots=True)
class Heartbeats(Part):
    """Hears what agents say of attempts in their hands. All of it is of the moment: a restart begins with nothing heard."""

    name: ClassVar[str] = "heartbeats"
    home: Home
    deadlines: Deadlines

    def steps(self) -> dict[type, Step]:
        """What agents say."""
        return {AgentProgressed: self._hear}

    def wake_mono_ms(self) -> int | None:
        """When somebody may have been silent for too long."""
        return self.home.vigil.next_due_ms()

    def listen(self, slot: Slot, now: Now) -> None:
        """The agent is here, or here again: from now on it must be heard of what it holds."""
        for (run, task), attempt in slot.held.items():
            if every_ms := self.home.fragments[run].task(task).heartbeat_ms:
                self.home.vigil.watch(run, task, attempt, every_ms, now)

    def settle(self, now: Now, out: list[object]) -> None:
        """Give up attempts whose agents are here and have said nothing of them for too long."""
        due_ms = self.home.vigil.next_due_ms()
        if due_ms is None or due_ms > now.mono_ms:
            return
        for run, task, number in self.home.vigil.take_silent(now):
            fragment = self.home.fragments.get(run)
            attempt = fragment.live.get(task) if fragment is not None else None
            if fragment is None or attempt is None or attempt.number != number:
                continue  # The one before it in this list took it along.
            if self.home.roster.slots[attempt.agent].session:  # Else its lease decides.
                reason = f"no sign of life for {fragment.task(task).heartbeat_ms / 1000:g} s"
                self.deadlines.give_up(fragment, task, "heartbeat", f"{reason} from {attempt.agent}", reason, now, out)

    def _hear(self, input: AgentProgressed, now: Now, out: list[object]) -> None:
        """What agents say of attempts in their hands; of any other it is late."""
        slot = self.home.roster.admit(input.agent, input.session, now)
        if slot is None:
            return
        for (run, task, attempt, _), fraction, note, beat in input.words:
            if slot.held.get((run, task)) == attempt:
                report = attempt if beat else Report(attempt, fraction, note, now.wall_ms)
                self.home.vigil.hear(run, task, report, now)
        if self.home.vigil.untold:
            out.append(ProgressHeard())
