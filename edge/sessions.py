"""The agents' sessions: who comes, says what it holds, is heard, goes or falls silent, and what becomes of its work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.home import deadline_of
from edge.inputs import AgentClosed, AgentDraining, AgentOpened, AgentSeen, AttemptKey, CloseSession, Welcome
from edge.roster import Slot
from sync.outputs import Revoke
from sync.values import Now
from workflow.commands import Lose, TakeUp
from workflow.events import AgentDeparted, AgentRegistered
from workflow.homes import home_of

if TYPE_CHECKING:
    from edge.executor import Executor


@dataclass(slots=True)
class Sessions:
    """The executor's side of every connection of an agent."""

    site: "Executor"

    def steps(self) -> dict[type, Callable[..., None]]:
        """What it takes of the executor's inputs."""
        return {AgentSeen: self._see, AgentOpened: self._open, AgentClosed: self._close, AgentDraining: self._drain}

    def _see(self, input: AgentSeen, now: Now, out: list[object]) -> None:
        site = self.site
        site.roster.admit(input.agent, input.session, now)

    def _drain(self, input: AgentDraining, now: Now, out: list[object]) -> None:
        if (slot := self.site.roster.admit(input.agent, input.session, now)) is not None:
            slot.draining = input.reason
            self.site.roster.assigner.leave(slot.agent)

    def _open(self, input: AgentOpened, now: Now, out: list[object]) -> None:
        site = self.site
        if site.roster.is_news(input):
            registered = AgentRegistered(
                input.agent, input.agent_kind, input.boot, list(input.capabilities), input.capacity, input.labels
            )
            site.emit("", registered, out)
        slot, replaced = site.roster.open(input, now)
        if replaced:
            self._take_back(slot, replaced, now, out)
            out.append(CloseSession(replaced, input.agent, "replaced", "the agent registered again over another connection"))
        out.append(Welcome(input.session, input.agent, site.lease_ms))
        self._reconcile(slot, input, now, out)
        site.heartbeats.listen(slot, now)
        site.roster.ready(slot, now)
        site.parts.met(input.agent, now, out)

    def _reconcile(self, slot: Slot, input: AgentOpened, now: Now, out: list[object]) -> None:
        """Compare what the log says the agent holds with what it says itself. What it says it holds, it keeps, also what had been
        given up and waits to be reconciled; only what others have got meanwhile, or has ended, it is told to stop."""
        site = self.site
        holding = {(key.run, key.task): key for key in input.holding}
        for (run, task), number in list(slot.held.items()):
            fragment = site.fragments[run]
            attempt = fragment.live[task]
            said = holding.get((run, task))
            if said is None or said.attempt != number or home_of(said.epoch) > fragment.epoch:
                # The same process that does not know the attempt never got it; a new process may have begun and forgotten.
                never_got_it = attempt.boot == input.boot and (run, task, number) not in site.doubts.attempts
                reason = "never delivered" if never_got_it else f"agent {slot.agent} restarted without it"
                site.home.decide(fragment, Lose(task, number, never_got_it, reason), now, out)
        ours = [key for key in input.holding if not site.yielding.doubt(key.run, slot.agent, home_of(key.epoch), now, out)]
        strange = [key for key in ours if slot.held.get((key.run, key.task)) != key.attempt]
        site.alone.returned(slot.agent)
        unknown = [key for key in strange if not self._take_up(slot, key, now, out)]
        stale = [key for key in unknown if not site.alone.claim(slot, key, input.claims, out)]
        if stale:
            site.home.stop(slot.agent, stale, "no longer assigned to this agent", out)
        cancelled = [key for key in ours if key not in stale and site.fragments[key.run].stopping == "cancelled"]
        if cancelled:
            site.home.stop(slot.agent, cancelled, "its run is being cancelled", out)

    def _take_up(self, slot: Slot, key: AttemptKey, now: Now, out: list[object]) -> bool:
        """An attempt whose outcome was to be reconciled is in its agent's hands after all: it goes on there."""
        site = self.site
        fragment = site.fragments.get(key.run)
        if fragment is None or key.task >= len(fragment.states):
            return False
        if not site.home.decide(fragment, TakeUp(key.task, key.attempt, slot.agent), now, out):
            return False
        slot.held[(key.run, key.task)] = key.attempt
        if fragment.task(key.task).timeout_ms:
            out.append(deadline_of(fragment, key.task, now.wall_ms))
        return True

    def _close(self, input: AgentClosed, now: Now, out: list[object]) -> None:
        site = self.site
        slot = site.roster.close(input.agent, input.session)
        if slot is None:
            return
        slot.heard_ms = now.wall_ms
        self._take_back(slot, input.session, now, out)
        if not input.goodbye:
            return
        site.roster.leases.release(slot.agent, slot.epoch)
        self._part(slot, "left", now, out)

    def _take_back(self, slot: Slot, session: int, now: Now, out: list[object]) -> None:
        """The session has ended. What was withheld for it, until the cloud holds it, surely never left: it is given out again."""
        site, gate = self.site, self.site.home.gate
        if not gate.lag.strong:
            return
        out.append(Revoke(session))
        for (run, task), number in list(slot.held.items()):
            if gate.lag.is_withheld(run, (task, number)):
                site.home.decide(site.fragments[run], Lose(task, number, True, "withheld, and never delivered"), now, out)

    def expire(self, now: Now, out: list[object]) -> None:
        """Take back what leases no longer cover."""
        site = self.site
        for lease in site.roster.leases.expire(now):
            slot = site.roster.slots[lease.holder]
            if slot.session:
                site.roster.close(slot.agent, session := slot.session)
                self._take_back(slot, session, now, out)
                out.append(CloseSession(session, slot.agent, "lease_expired", "no heartbeat within the lease"))
            self._part(slot, "unreachable", now, out)

    def _part(self, slot: Slot, reason: str, now: Now, out: list[object]) -> None:
        site = self.site
        site.emit("", AgentDeparted(slot.agent, reason), out)
        for (run, task), number in list(slot.held.items()):
            lost = Lose(task, number, False, f"agent {slot.agent} {reason}")
            site.home.decide(site.fragments[run], lost, now, out)
