"""Where agents are in their lives, as their site knows it: silence, leases, returns, restarts."""

from edge.inputs import AgentDraining
from edge.telemetry import SEEN_EVERY_MS, Telling, loads_of
from sync.values import Now
from tests.edge.site import LEASE_MS, Site
from tests.edge.test_points import plan_of
from tiercel.v1 import sync_pb2


def now_of(site: Site) -> Now:
    return site.clock.now()


def load(site: Site, agent: str = "anna") -> sync_pb2.AgentLoad:
    return next(item for item in loads_of(site.core, now_of(site)).agents if item.agent == agent)


def state(site: Site, agent: str = "anna") -> str:
    return load(site, agent).state


def test_an_agent_is_idle_works_and_is_full() -> None:
    """By what it has in hand, and since when."""
    site = Site()
    anna = site.join("anna", capacity=3)
    assert (state(site), load(site).load) == ("online.idle", 0)
    site.pass_ms(100)
    site.release(plan_of())
    assert (state(site), load(site).load, load(site).since_ms) == ("online.full", 3, site.clock.wall_ms)
    site.done(anna, task=0)
    assert state(site) == "online.working"


def test_silent_is_not_unreachable_and_unreachable_is_not_left() -> None:
    """Its connection is gone, then its lease ends, then it is back; another says goodbye."""
    site = Site()
    anna = site.join("anna")
    site.join("ben")
    heard_ms = site.clock.wall_ms
    site.hang_up(anna)
    assert state(site) == "online.silent"
    site.pass_ms(LEASE_MS // 2)
    site.beat(site.robots["ben"])
    silent = load(site)
    assert (silent.state, silent.since_ms, silent.seen_ms) == ("online.silent", heard_ms, heard_ms)
    assert 0 < silent.lease_ms <= LEASE_MS // 2 + 200
    site.pass_ms(LEASE_MS)
    assert (state(site), load(site).lease_ms) == ("offline.unreachable", 0)
    epoch = load(site).epoch
    site.join("anna")
    assert state(site) == "online.idle"
    assert load(site).epoch > epoch
    site.hang_up(site.robots["anna"], goodbye=True)
    assert state(site) == "offline.left"


def test_a_heartbeat_is_seen() -> None:
    """When an agent was last heard of moves with each, and the end of its lease with it."""
    site = Site()
    anna = site.join("anna")
    site.pass_ms(LEASE_MS // 3)
    before = load(site)
    site.beat(anna)
    after = load(site)
    assert (before.seen_ms, after.seen_ms) == (site.clock.wall_ms - LEASE_MS // 3, site.clock.wall_ms)
    assert after.lease_ms - before.lease_ms == LEASE_MS // 3


def test_a_restarted_site_waits_for_its_agents_in_silence() -> None:
    """Each has one lease in which to come back; who had left before has left, by a snapshot, too."""
    site = Site()
    site.join("anna")
    site.join("ben")
    site.hang_up(site.robots["ben"], goodbye=True)
    saved = site.core.roster.save()
    site.restart()
    assert (state(site), state(site, "ben")) == ("online.silent", "offline.left")
    site.join("anna")
    assert state(site) == "online.idle"
    site.restart()
    for _ in range(2):
        site.pass_ms(LEASE_MS)
    assert state(site) == "offline.unreachable"
    site.core.roster.slots.clear()
    site.core.roster.restore(saved)
    assert site.core.roster.slots["ben"].parted == "left"


def test_an_agent_that_drains_gets_no_more_work() -> None:
    """What it has in hand it ends; when it registers anew it is as any other."""
    site = Site()
    anna = site.join("anna", capacity=2)
    site.release(plan_of())
    assert len(anna.hands) == 2
    site.turn(AgentDraining(anna.session, "anna", "the shift is over"))
    site.done(anna, task=0)
    assert (len(anna.hands), state(site), load(site).why) == (1, "online.draining", "the shift is over")
    site.turn(AgentDraining(anna.session - 1, "anna", "of a session that is over"))
    site.hang_up(anna)
    site.join("anna")
    assert (len(anna.hands), state(site)) == (2, "online.full")


def test_when_agents_were_seen_is_told_now_and_then() -> None:
    """Everything else is told when it changes."""
    site, telling = Site(), Telling()
    anna = site.join("anna")

    def told() -> bool:
        return telling.news(loads_of(site.core, now_of(site)), now_of(site))

    assert (told(), told()) == (True, False)
    site.pass_ms(LEASE_MS // 4)
    site.beat(anna)
    assert not told()
    for _ in range(4):
        site.pass_ms(SEEN_EVERY_MS // 4)
        site.beat(anna)
    assert told()
    site.release(plan_of())
    assert told()
    telling.forget()
    assert told()
