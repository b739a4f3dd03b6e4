"""What breaks, and how it becomes whole again."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sync.chain import GENESIS
from sync.values import stream_id
from tests.sim.plan import AGENTS, SITES, Step

if TYPE_CHECKING:
    from tests.sim.agent import SimAgent
    from tests.sim.network import Way
    from tests.sim.process import Process, SiteProcess
    from tests.sim.world import World


class Faults:
    """Carries out the faults of a plan."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def befall(self, step: Step) -> None:
        self.world.trace.note(f"fault_{step.what}")
        self.world.trace.step(f"fault {step.what} {step.a} {step.b:.3f} for {step.lasts_s:.2f} s")
        getattr(self, f"_{step.what}")(step)

    def _strike(self, step: Step, victim: "Process | SimAgent", strike: Callable[[], object], within_s: float) -> None:
        """At once, or at a moment that is worse."""
        if step.b * 10 % 1 < 0.5:
            strike()
        else:
            victim.ambush.lay(lambda: None if self.world.is_over else strike(), within_s)

    def _later(self, step: Step, mend: Callable[[], object]) -> None:
        self.world.loop.call_later(step.lasts_s, lambda: None if self.world.is_over else mend())

    def _site(self, step: Step) -> "SiteProcess":
        return self.world.sites[sorted(SITES)[step.a % len(SITES)]]

    def _agent(self, step: Step) -> "SimAgent":
        return self.world.agents[sorted(AGENTS)[step.a % len(AGENTS)]]

    def _node(self, step: Step) -> "Process":
        return self.world.cloud if step.b < 0.4 else self._site(step)

    def _down(self, step: Step, process: "Process", *, power: bool) -> None:
        def strike() -> None:
            process.kill(power=power)
            self._later(step, process.start)

        self._strike(step, process, strike, 0.012)

    def _kill_cloud(self, step: Step) -> None:
        self._down(step, self.world.cloud, power=False)

    def _kill_site(self, step: Step) -> None:
        self._down(step, self._site(step), power=False)

    def _power_cloud(self, step: Step) -> None:
        self._down(step, self.world.cloud, power=True)

    def _power_site(self, step: Step) -> None:
        self._down(step, self._site(step), power=True)

    def _kill_agent(self, step: Step) -> None:
        self._agent_down(step, power=False)

    def _power_agent(self, step: Step) -> None:
        self._agent_down(step, power=True)

    def _agent_down(self, step: Step, *, power: bool) -> None:
        agent = self._agent(step)

        def strike() -> None:
            if agent.alive:
                agent.kill(power=power)
                self._later(step, lambda: None if agent.alive else agent.start())

        self._strike(step, agent, strike, 0.03)

    def _old_copy(self, step: Step) -> None:
        """The site dies and comes back on a copy of its disk of a moment ago, of which the cloud holds all that came later."""
        self._restore(step, self._site(step), whole=True)

    def _lost_tail(self, step: Step) -> None:
        """The same, and the cloud lacks some of it: that is lost for good. What nobody can know any more may be done again."""
        self._restore(step, self._site(step), whole=False)

    def _restore(self, step: Step, site: "SiteProcess", *, whole: bool) -> None:
        world, copy, own = self.world, site.platter.copy(), stream_id(site.name, 1)
        cloud = world.cloud.platter

        def is_held() -> bool:
            return cloud.heads.get(own, GENESIS) == site.platter.heads.get(own, GENESIS)

        def restore() -> None:
            if world.is_over or not site.alive or own not in cloud.heads or (whole and not is_held()):
                return
            site.kill()
            if whole and not is_held():
                site.start()
                return
            world.trace.note("restored_old_copy")
            if not is_held():
                world.trace.note("lost_for_good")
                world.oracle.excuse(site, cloud.heads[own].seq)
            copy.boot = site.platter.boot
            site.platter, site.first_link_wait_s = copy, 3600.0
            site.start()

        lie_s = min(step.lasts_s, 20.0)
        if whole:
            world.loop.call_later(lie_s, restore)
        else:
            world.loop.call_later(lie_s, lambda: site.ambush.lay(restore, 0.03))

    # The network

    def _ways(self, step: Step) -> list[tuple[str, str]]:
        site = self._site(step).name
        return [(site, "cloud"), ("cloud", site)]

    def _cut_ways(self, step: Step, victim: "Process | SimAgent", names: list[tuple[str, str]]) -> None:
        ways = [self.world.net.way(*name) for name in names]

        def strike() -> None:
            for way in ways:
                way.cut = True
            self._later(step, lambda: mend(ways))

        self._strike(step, victim, strike, 0.03)

    def _cut(self, step: Step) -> None:
        self._cut_ways(step, self._site(step), self._ways(step))

    def _cut_one_way(self, step: Step) -> None:
        self._cut_ways(step, self._site(step), [self._ways(step)[step.b < 0.5]])

    def _agent_line(self, step: Step) -> None:
        agent = self._agent(step)
        names = [(agent.name, agent.site), (agent.site, agent.name)]
        self._cut_ways(step, agent, names if step.b < 0.7 else names[:1])

    def _stall(self, step: Step) -> None:
        for name in self._ways(step):
            self.world.net.way(*name).stalled_until_s = self.world.loop.now_s + step.lasts_s

    def _loss(self, step: Step) -> None:
        ways = [self.world.net.way(*name) for name in self._ways(step)]
        for way in ways:
            way.loss = 0.02 + 0.2 * step.b
        self._later(step, lambda: mend(ways))

    def _silence(self, step: Step) -> None:
        """One end of the link is gone and the other does not hear of it."""
        site = self._site(step).name
        for connection in [c for c in self.world.net.connections if c.dialler == site]:
            self.world.trace.note("half_open")
            if step.b < 0.5:
                connection.break_dialler()
            else:
                connection.break_answerer()

    def _deaf(self, step: Step) -> None:
        site = self._site(step).name
        for connection in [c for c in self.world.net.connections if c.dialler == site]:
            pipe = connection.up if step.b < 0.5 else connection.down
            pipe.deaf = True
            self._later(step, pipe.hear)

    # Agents, disks, clocks

    def _slow_agent(self, step: Step) -> None:
        agent = self._agent(step)
        agent.slowness = 10.0
        self._later(step, lambda: setattr(agent, "slowness", 1.0))

    def _agent_disk(self, step: Step) -> None:
        """It hangs, or refuses a few times."""
        disk = self._agent(step).disk
        disk.stalled_until_s = self.world.loop.now_s + step.lasts_s / 2
        disk.fails += int(step.b * 4)

    def _disk_stall(self, step: Step) -> None:
        self._node(step).nature.stalled_until_s = self.world.loop.now_s + min(step.lasts_s, 15.0)

    def _disk_slow(self, step: Step) -> None:
        nature = self._node(step).nature
        nature.latency_s = 0.2
        self._later(step, lambda: setattr(nature, "latency_s", 0.002))

    def _disk_fail(self, step: Step) -> None:
        self._node(step).nature.fails += 1 + int(step.b * 3)

    def _disk_full(self, step: Step) -> None:
        nature = self._node(step).nature
        nature.full = True
        self.world.loop.call_later(min(step.lasts_s, 3.0), lambda: setattr(nature, "full", False))

    def _clock_jump(self, step: Step) -> None:
        self._node(step).clock.skew_ms += int((step.b - 0.5) * 40_000)

    def _clock_rate(self, step: Step) -> None:
        """A clock that runs by up to half a percent too fast or slow, within what leases reckon with."""
        clock = self._node(step).clock
        clock.turn_to(1.0 + (step.b - 0.5) * 0.01)
        self._later(step, lambda: clock.turn_to(1.0))

    def _clock_far_ahead(self, step: Step) -> None:
        clock = self._node(step).clock
        clock.skew_ms += 3_600_000
        self._later(step, lambda: setattr(clock, "skew_ms", clock.skew_ms - 3_600_000))


def mend(ways: "list[Way]") -> None:
    """They are whole again."""
    for way in ways:
        way.mend()
