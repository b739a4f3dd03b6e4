"""Reads inside a bound, or none; commands of strong runs that count once they are answered, or say that nobody knows."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloud.consistency.asked import Fresh
from cloud.consistency.core import SiteAutonomyView, is_strong, site_autonomy
from cloud.contracts import contract_now
from cloud.port import Problem, site_unknown
from cloud.requests import WAIT_S_MAX
from cloud.runs import Run

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

READ_WAIT_S = 2.0
"""How long a read that is not fresh enough waits for its homes."""
LOOK_S = 0.01
PROBE_S = 0.5


class Consistency:
    """Of a GlobalPlanner in the same process and loop."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    # Reads ------------------------------------------------------------------------------------------------------------

    async def ensure(self, run: str, asked: Fresh) -> None:
        """Return once the replica of the run is inside the bound. Raises Problem (503, `staleness_exceeded`)."""
        clock, exchange = asyncio.get_running_loop().time, self._node.exchange
        began = ask_s = clock()
        while True:
            known = self._node.planner.runs.look(run)
            if known is None or known.outcome:
                return  # Nothing newer can come.
            behind = list(self._behind(known, asked, began))
            if not behind:
                break
            if clock() - began > READ_WAIT_S or not any(site in exchange.links for site in behind):
                raise self._stale(known, asked)
            if clock() >= ask_s:  # At once, and again in case it was lost; more would only be throttled.
                ask_s = clock() + PROBE_S
                for site in behind:
                    exchange.probe(site)
            await asyncio.sleep(LOOK_S)
        try:
            await asyncio.wait_for(self._node.loop.caught_up(), READ_WAIT_S)
        except TimeoutError:
            raise self._stale(known, asked) from None

    def _behind(self, run: Run, asked: Fresh, began: float) -> Iterator[str]:
        """The homes of which too little is known."""
        for site, fragment in zip(run.sites, run.fragments, strict=True):
            if fragment is not None and fragment.outcome:
                continue
            # Of a strong run only that counts which is here.
            if asked.strong and not is_strong(run.contract if fragment is None else fragment.contract):
                if self._node.exchange.standings.level_s.get(site, 0.0) < began:
                    yield site
            elif asked.staleness_ms >= 0 and not 0 <= self._node.exchange.staleness_ms(site) <= asked.staleness_ms:
                yield site
        if asked.version > run.version():
            yield from run.sites

    def check_version(self, run: str, version: int, asked: Fresh) -> None:
        """Raises Problem (503) if even the end of the run is before the version that was asked for."""
        if asked.version > version:
            raise Problem(503, "staleness_exceeded", f"run {run} is at version {version} here, and {asked.version} was asked for")

    def _stale(self, run: Run, asked: Fresh) -> Problem:
        lines = []
        for site in run.sites:
            known = self._node.freshness(site)
            told = f"as_of {known.as_of}, staleness_ms {known.staleness_ms}, versions_behind {known.versions_behind}"
            lines.append(f"{site}: {told}, link {self._node.link_view(site).state}")
        bounds = ["strong"] if asked.strong else []
        bounds += [f"not older than {asked.staleness_ms} ms"] if asked.staleness_ms >= 0 else []
        bounds += [f"version {asked.version} (it is {run.version()} here)"] if asked.version >= 0 else []
        detail = f"what the cloud knows of run {run.id} is older than was asked for ({', '.join(bounds)}); ask without a bound"
        return Problem(503, "staleness_exceeded", detail, lines)

    # Commands ---------------------------------------------------------------------------------------------------------

    async def admit(self, run: Run, wait_s: float) -> None:
        """A command for a strong run whose home is cut off waits, or is refused before anything is recorded. Raises Problem."""
        contract = contract_now(run)
        if contract is None or contract.level.kind != "strong" or not (away := self._away(run)):
            return
        level = contract.level
        if level.when_cut == "wait":
            limit_s = min(level.wait_ms / 1000 or wait_s, WAIT_S_MAX)
            clock = asyncio.get_running_loop().time
            until = clock() + limit_s
            while away and clock() < until:
                await asyncio.sleep(5 * LOOK_S)
                away = self._away(run)
        if away:
            sites = ", ".join(away)
            detail = (
                f"run {run.id} is strong, and {sites} is cut off from the cloud: nothing was recorded, ask again when it is back"
            )
            raise Problem(503, "unavailable", detail)

    def check_known(self, run: Run, command: str) -> None:
        """Raises Problem (503, `outcome_unknown`) if a command was recorded, and the link lost before its answer came."""
        if is_strong(contract_now(run)) and (away := self._away(run)):
            detail = (
                f"command {command} for run {run.id} is recorded, and {', '.join(away)} was cut off before it answered: nobody "
                f"knows yet whether it is carried out. GET /api/v1/commands/{command} gives the one answer once the link is "
                f"back; so does the same request again, under the same Idempotency-Key"
            )
            raise Problem(503, "outcome_unknown", detail, [command])

    def _away(self, run: Run) -> list[str]:
        links = self._node.exchange.links
        parts = zip(run.sites, run.fragments, strict=True)
        return [site for site, fragment in parts if site not in links and (fragment is None or not fragment.outcome)]

    # Sites ------------------------------------------------------------------------------------------------------------

    def autonomy(self, site: str) -> SiteAutonomyView:
        """How a site stands. Raises Problem (404)."""
        planner = self._node.planner
        if site not in planner.fleet.sites:
            raise site_unknown(site, planner.fleet.sites)
        parts = [(run, f) for _, run in planner.runs.looks() if (f := run.fragment(site)) is not None and not f.outcome]
        now_ms = self._node.loop.clock.now().wall_ms
        return site_autonomy(site, self._node.link_view(site), self._node.freshness(site), parts, now_ms)
