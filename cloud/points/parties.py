"""Agents of other sites at the sync points of runs, a Part of the planner: the home of a point hears of their end from the cloud.

A site sees its own agents come and go. A run of several sites has its points at its first, and whoever arrives through the API
may be anywhere: so when an agent is lost at one site, the homes of the points that wait for it are told by an order, and when
it is back, by another one. A home that is cut off hears of it when it is linked again, and of a site that is cut off nobody
hears anything: there the deadline decides.
"""

from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.fleet import Site
from cloud.part import Fold, Hear, Part
from cloud.runs import Run
from sync.points.events import PointArrived
from sync.values import Now
from workflow.event import Event
from workflow.events import AgentDeparted, AgentRegistered, FragmentAdopted, RunCreated, RunEnded, RunReopened
from workflow.orders import TellParty, decode_order
from workflow.points import point_of
from workflow.steering_events import CommandRequested

if TYPE_CHECKING:
    from cloud.planner import Planner

AVAILABLE = "available"
VERB = str(TellParty.__struct_config__.tag)


class FarParties(Part):
    """`runs` are the living ones with sync points, and of whom their homes were told that they are gone, and not that they are
    back."""

    name: ClassVar[str] = "far_parties"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self.runs: dict[str, list[str]] = {}

    def own_folds(self) -> dict[type, Fold]:
        came: dict[type, Fold] = dict.fromkeys((RunCreated, RunReopened), self._begin)
        return {**came, RunEnded: self._forget, CommandRequested: self._note}

    def site_folds(self) -> dict[type, Fold]:
        return {RunCreated: self._begin}

    def hears(self) -> dict[type, Hear]:
        agents: dict[type, Hear] = {AgentDeparted: self._hear_of_end, AgentRegistered: self._hear_of_return}
        return {**agents, PointArrived: self._hear_of_arrival, FragmentAdopted: self._hear_of_home}

    def save(self) -> bytes:
        return msgspec.msgpack.encode(dict(sorted(self.runs.items()))) if self.runs else b""

    def restore(self, body: bytes) -> None:
        self.runs = _RUNS.decode(body)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _begin(self, site: str, run: str, event: Event, time_ms: int) -> None:
        if (known := self._planner.runs.look(run)) is not None and known.plan.points:
            self.runs.setdefault(run, [])

    def _forget(self, site: str, run: str, event: Event, time_ms: int) -> None:
        self.runs.pop(run, None)

    def _note(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, CommandRequested)
        if site or event.verb != VERB or (gone := self.runs.get(run)) is None:
            return
        order = decode_order(event.arguments)
        assert isinstance(order, TellParty)
        if order.agent in gone:
            gone.remove(order.agent)
        if order.reason:
            gone.append(order.agent)

    # Telling ----------------------------------------------------------------------------------------------------------

    def _hear_of_end(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, AgentDeparted)
        if self._is_anywhere(event.agent):
            return  # It works elsewhere by now.
        for each in list(self.runs):
            if (known := self._others(each, site)) is not None and _waits_for(known, event.agent):
                self._tell(known, TellParty(event.agent, site, event.reason), now, out)

    def _hear_of_return(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, AgentRegistered)
        for each, gone in list(self.runs.items()):
            if event.agent in gone and (known := self._others(each, site)) is not None:
                self._tell(known, TellParty(event.agent, site), now, out)

    def _hear_of_arrival(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        """It may have been lost before the home told that it had arrived."""
        assert isinstance(event, PointArrived)
        if event.boot or run not in self.runs or self._is_anywhere(event.agent) or event.agent in self.runs[run]:
            return  # With a process it has arrived at the home itself.
        lost, known = self._lost(event.agent, site), self._planner.runs.look(run)
        if lost is not None and known is not None and _waits_for(known, event.agent):
            self._tell_lost(run, event.agent, lost, [], now, out)

    def _hear_of_home(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        """The run begins, and parties that others may stand in for were lost before. (For all others they are only missing.)"""
        known = self._planner.runs.look(run) if run in self.runs else None
        if known is None or known.sites[:1] != [site]:
            return
        replaced = {name: terms for name, terms in known.plan.points.items() if terms.on_death == "replace"}
        for agent in dict.fromkeys(party for terms in replaced.values() for party in terms.parties):
            if not self._is_anywhere(agent) and (lost := self._lost(agent, site)) is not None:
                names = [name for name, terms in replaced.items() if agent in terms.parties]
                self._tell_lost(run, agent, lost, names, now, out)

    def _lost(self, agent: str, home: str) -> Site | None:
        """Where, other than at the home, the agent was last."""
        sites = [site for site in self._sites() if site.id != home and agent in site.agents]
        return max(sites, key=lambda site: (site.agents[agent].since, site.id), default=None)

    def _tell_lost(self, run: str, agent: str, lost: Site, points: list[str], now: Now, out: list[object]) -> None:
        if (known := self._others(run, lost.id)) is not None:
            self._tell(known, TellParty(agent, lost.id, lost.agents[agent].state, points), now, out)

    def _others(self, run: str, site: str) -> Run | None:
        """The run, if its points are at another site than this, and somebody can be told."""
        known = self._planner.runs.look(run)
        is_far = known is not None and bool(known.sites) and known.sites[0] != site and not known.outcome
        return known if is_far and not self._planner.intents.is_full() else None

    def _tell(self, run: Run, order: TellParty, now: Now, out: list[object]) -> None:
        planner = self._planner
        planner.orders.send(planner.runs[run.id], order, [run.sites[0]], planner.ids.next("p"), now, out)

    def _is_anywhere(self, agent: str) -> bool:
        return any(agent in site.agents and site.agents[agent].state == AVAILABLE for site in self._sites())

    def _sites(self) -> list[Site]:
        return [site for _, site in sorted(self._planner.fleet.sites.items())]


def _waits_for(run: Run, agent: str) -> bool:
    """Is the agent a party by its name, or is it there, as far as the cloud knows?"""
    fragment = run.fragments[0] if run.fragments else None
    is_there = fragment is not None and any(agent in point_of(fragment, name).arrived for name in run.plan.points)
    return is_there or any(agent in terms.parties for terms in run.plan.points.values())


_RUNS = msgspec.msgpack.Decoder(dict[str, list[str]])
