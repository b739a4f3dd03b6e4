"""Two tiers whose runs move, are taken from their sites, and whose sites are drained, while everything else happens to them."""

from hypothesis import strategies as st

from cloud.moving.inputs import DrainSite, MoveRun
from cloud.port import Problem
from sync.values import stream_writer
from tests.two_tiers import AGENTS, SITES, WORLD, Happening, Tiers
from tests.workflow.asking import PEOPLE
from workflow.events import FragmentEnded, RunEnded, decode
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


class Roaming(Tiers):
    """After each story nothing is drained any more."""

    def live(self, what: str, name: str, number: int, variant: int) -> None:
        if what in ("drain", "undrain"):
            self._drain(name, what == "drain")
        elif what in MOVES:
            run, to = self.runs[number % len(self.runs)], name if variant % 2 else ""
            answer = self.cloud.ask(lambda token: MoveRun(token, run, to, "a story says so", what == "force"))
            assert isinstance(answer, str | Problem), answer
        else:
            super().live(what, name, number, variant)

    def _drain(self, site: str, draining: bool) -> None:
        assert self.cloud.ask(lambda token: DrainSite(token, site, draining, "", "")) == ""

    def finish(self) -> None:
        for name in self.wires:
            self._drain(name, False)
        super().finish()
        self.check_homes()

    def check_homes(self) -> None:
        """Under one epoch of a run one site decides, whom the cloud gave it to; and it is the last of them that ends it."""
        given: dict[tuple[str, int], str] = {}
        orders: dict[tuple[str, int], str] = {}
        latest: dict[str, int] = {}
        ended: dict[str, tuple[int, str]] = {}
        for row in self.cloud.log.disk.rows:
            event = decode(row.kind, row.payload)
            if isinstance(event, FragmentMoved):
                assert given.setdefault((row.run, event.epoch), event.site) == event.site, f"{row.run}: two homes by one epoch"
                # A stream that was lost is begun anew with what it said.
                assert orders.setdefault((row.run, event.epoch), event.command) == event.command, f"{row.run}: one epoch twice"
                assert event.epoch >= latest.get(row.run, 0), f"{row.run}: epoch {event.epoch} after {latest[row.run]}"
                latest[row.run] = event.epoch
        for name, wire in self.wires.items():
            for row in wire.site.log.disk.rows:
                event = decode(row.kind, row.payload)
                if not row.run or stream_writer(row.stream) != name or not row.epoch or isinstance(event, ELSEWHERE):
                    continue
                home = given.setdefault((row.run, row.epoch), name)
                assert home == name, f"{row.run}: {name} writes {event} under epoch {row.epoch}, which is {home}'s"
                if isinstance(event, FragmentEnded) and (row.run, row.epoch) > (row.run, ended.get(row.run, (0, ""))[0]):
                    ended[row.run] = row.epoch, event.outcome
                elif isinstance(event, FragmentReopened):
                    ended.pop(row.run, None)
        for row in self.cloud.log.disk.rows:
            event = decode(row.kind, row.payload)
            if isinstance(event, RunEnded) and row.run in ended and row.run in latest:
                assert ended[row.run][0] == latest[row.run], f"{row.run} was ended by a home of epoch {ended[row.run][0]}"
