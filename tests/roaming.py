"""Two tiers whose runs move, are taken from their sites, and whose sites are drained, while everything else happens to them.

Checkers name the guarantee that breaks: `one home per epoch`, `one home decides at a time`, `older homes decide nothing`.
"""

from dataclasses import dataclass, field

from hypothesis import strategies as st

from cloud.moving.inputs import DrainSite, MoveRun
from cloud.port import Problem
from sync.commit import Row
from sync.values import stream_writer
from tests.sim.oracle import Broke
from tests.two_tiers import AGENTS, SITES, WORLD, Happening, Tiers
from tests.workflow.asking import PEOPLE
from workflow.event import Event
from workflow.events import FragmentEnded, RunEnded, TaskAssigned, decode
from workflow.home_events import FactFound, FailureFound, FragmentMoved
from workflow.steering_events import FragmentReopened

MOVES = ("move", "move", "force", "force", "force", "drain", "undrain")
roamings: st.SearchStrategy[list[Happening]] = st.lists(
    st.tuples(
        st.sampled_from([*AGENTS * 3, *WORLD * 2, *MOVES * 2, *PEOPLE, "pass_hours"]),
        st.sampled_from(sorted(SITES)),
        st.integers(0, 11),
        st.integers(0, 11),
    ),
    min_size=10,
    max_size=50,
)
ELSEWHERE = (FactFound, FailureFound)
"""What a site tells of a run that is no longer its own, under the epoch of its present home."""


@dataclass
class Roaming(Tiers):
    """After each story nothing is drained any more. `forced` are the orders to take a run whatever its home is doing."""

    forced: set[str] = field(default_factory=set)

    def live(self, what: str, name: str, number: int, variant: int) -> None:
        if what in ("drain", "undrain"):
            self._drain(name, what == "drain")
        elif what in MOVES:
            self.move(self.runs[number % len(self.runs)], name if variant % 2 else "", force=what == "force")
        else:
            super().live(what, name, number, variant)

    def move(self, run: str, to: str = "", *, force: bool = False) -> str | Problem:
        """Ask for it; the order's id, or why not."""
        answer = self.cloud.ask(lambda token: MoveRun(token, run, to, "a story says so", force))
        assert isinstance(answer, str | Problem), answer
        if force and isinstance(answer, str):
            self.forced.add(answer)
        return answer

    def _drain(self, site: str, draining: bool) -> None:
        assert self.cloud.ask(lambda token: DrainSite(token, site, draining, "", "")) == ""

    def finish(self) -> None:
        for name in self.wires:
            self._drain(name, False)
        super().finish()
        self.check_homes()

    # What must hold ---

    def check_equal(self) -> None:
        """What older homes have decided is in no replica."""
        if different := self.different():
            raise Broke("older homes decide nothing", f"replicas are not what the present homes are: {different}")

    def check_homes(self) -> None:
        """Raises Broke."""
        moves = [(row, event) for row, event in self._told("cloud") if isinstance(event, FragmentMoved)]
        homes = check_epochs(moves, [(name, *told) for name in self.wires for told in self._told(name)])
        for row, moved in moves:
            self._check_begun(row, moved)
        latest = dict(sorted(homes))
        for run, (epoch, outcome) in self._ends().items():
            ended = [event for row, event in self._told("cloud") if row.run == run and isinstance(event, RunEnded)]
            if ended and epoch != latest[run]:
                raise Broke("older homes decide nothing", f"{run} is {outcome} by a home of epoch {epoch}, not {latest[run]}")

    def _check_begun(self, row: Row, moved: FragmentMoved) -> None:
        """A home that is asked gives up first; one that is silent for longer than its horizon has stopped by then. Only a person
        who takes a run by force may have it decided for in two places."""
        by_person = moved.taken_from and moved.command in self.forced
        for name in self.wires:
            for said, event in self._told(name):
                is_older = said.run == row.run and 0 < said.epoch < moved.epoch
                if is_older and isinstance(event, TaskAssigned) and said.time > row.time and not by_person:
                    what = f"{name} begins task {event.task} of {row.run} under epoch {said.epoch}"
                    raise Broke("one home decides at a time", f"{what}, and {moved.site} has it under {moved.epoch} since")

    def _ends(self) -> dict[str, tuple[int, str]]:
        """By which home, and how, each run has ended at the sites."""
        ended: dict[str, tuple[int, str]] = {}
        for name in self.wires:
            for row, event in self._told(name):
                if isinstance(event, FragmentEnded | FragmentReopened) and row.epoch >= ended.get(row.run, (0, ""))[0]:
                    ended[row.run] = row.epoch, event.outcome if isinstance(event, FragmentEnded) else ""
        return {run: last for run, last in ended.items() if last[1]}

    def _told(self, node: str) -> list[tuple[Row, Event]]:
        """What a node has written of runs, in its order."""
        disk = self.cloud.log.disk if node == "cloud" else self.wires[node].site.log.disk
        rows = [row for row in disk.rows if row.run and stream_writer(row.stream) == node]
        return [(row, decode(row.kind, row.payload)) for row in rows]


def check_epochs(moves: list[tuple[Row, FragmentMoved]], told: list[tuple[str, Row, Event]]) -> dict[tuple[str, int], str]:
    """By run and epoch, the home. Raises Broke if there are two."""
    orders: dict[tuple[str, int], tuple[str, str]] = {}
    for row, moved in moves:  # A stream that was lost is begun anew with what it said.
        given = orders.setdefault((row.run, moved.epoch), (moved.command, moved.site))
        if given != (moved.command, moved.site):
            raise Broke("one home per epoch", f"{row.run} is given to {given} and {moved.site} under epoch {moved.epoch}")
    homes = {place: site for place, (_, site) in orders.items()}
    for name, row, event in told:
        if row.epoch and not isinstance(event, ELSEWHERE):
            home = homes.setdefault((row.run, row.epoch), name)
            if home != name:
                raise Broke("one home per epoch", f"{row.run}: {name} writes {event} under epoch {row.epoch}, which is {home}'s")
    return homes
