"""Stories of agents that lose their site, begin what it had offered, and come back, in any order and with restarts in between."""

from collections import Counter
from random import Random
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.coordinating.alone import Alone
from edge.inputs import AttemptKey
from tests.edge.site import Robot, Site
from tests.edge.test_alone import ALONE_MS, back, lots, offered, team
from workflow.coordination_events import TaskAwarded, TaskOffered
from workflow.events import TaskCompleted

STEPS = ("lose", "lose", "begin", "begin", "begin", "return", "return", "finish", "finish", "bid", "wait", "restart", "stop")
TASKS = 3
LEASE_MS = 600_000
"""Longer than any story: here agents are lost with their connections."""


class Story:
    """Three agents, three tasks. An agent without a session begins what it may, whatever the others do."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.site = Site(lease_ms=LEASE_MS)
        self.robots = team(self.site, "anna", "ben", "cleo", capacity=2)
        self.offers: dict[str, dict[AttemptKey, int]] = {robot.name: {} for robot in self.robots}  # With the last moment.
        offered(self.site, TASKS, window="50ms", wait="5s")

    def live(self, steps: int = 40) -> None:
        for _ in range(steps):
            getattr(self, f"_{self.chance.choice(STEPS)}")(self.chance.choice(self.robots))
            self.check()
        for _ in range(100):
            for robot in self.robots:
                self._return(robot)
                self._finish(robot)
                self._bid(robot)
            self.site.pass_ms(5_000)
            if self.site.outcome():
                return

    def check(self) -> None:
        """One award for an epoch, and none to others while somebody may begin it."""
        awards = Counter((event.task, event.epoch) for event in self.site.events(TaskAwarded) if event.agent)
        assert max(awards.values(), default=1) == 1
        done = Counter(event.task for event in self.site.events(TaskCompleted))
        assert max(done.values(), default=1) == 1

    def _lose(self, robot: Robot) -> None:
        if robot.connected:
            until = self.site.clock.now().mono_ms + ALONE_MS
            self.offers[robot.name] = {lot.assigned.key: until for lot in lots(robot)}
            self.site.hang_up(robot)

    def _begin(self, robot: Robot) -> None:
        now_ms = self.site.clock.now().mono_ms
        may = [key for key, until in self.offers[robot.name].items() if until > now_ms]
        if robot.connected or not may or len(robot.hands) >= robot.capacity:
            return
        key = self.chance.choice(may)
        del self.offers[robot.name][key]
        if not any(held[:2] == key[:2] for held in (*robot.hands, *robot.journal)):
            robot.hands[key] = next(iter(self.robots[0].hands.values()), None)  # type: ignore[assignment]
            given = [event for event in self.site.events(TaskAwarded) if (event.task, event.epoch) == (key.task, key.epoch)]
            by_itself = {event.agent for event in given if b'"agreed_alone":true' not in event.detail}
            assert by_itself <= {robot.name}, "the site gave it to somebody else while this agent might begin it"

    def _return(self, robot: Robot) -> None:
        if not robot.connected:
            self.offers[robot.name] = {}
            back(self.site, robot, **{robot.name: self.chance.randint(1, 3) / 10})
            self.site.report(robot)
            self._stop(robot)

    def _finish(self, robot: Robot) -> None:
        for key in list(robot.hands):
            robot.finish(key)
        self.site.report(robot)

    def _stop(self, robot: Robot) -> None:
        for key in [key for key in dict.fromkeys(robot.stops) if key in robot.hands]:
            robot.stop(key)
        self.site.report(robot)

    def _bid(self, robot: Robot) -> None:
        if robot.connected and robot.offers:
            for lot in robot.offers[-1].lots:
                self.site.bid(robot, self.chance.randint(1, 9), task=lot.key.task)

    def _wait(self, robot: Robot) -> None:
        self.site.pass_ms(self.chance.choice([10, 100, 1_000, 6_000, 12_000]))

    def _restart(self, robot: Robot) -> None:
        if self.chance.random() < 0.3:
            until = self.site.clock.now().mono_ms + ALONE_MS
            for each in self.robots:
                if each.connected:
                    self.offers[each.name] = {lot.assigned.key: until for lot in lots(each)}
            self.site.restart()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(0)
def test_whoever_is_lost_each_task_is_awarded_once_and_done(seed: int) -> None:
    """The promise holds for every agent that might act on it, and all is done in the end."""
    story = Story(seed)
    story.live()
    assert story.site.outcome() == "completed"
    assert len(story.site.events(TaskOffered)) >= TASKS


class Forgetful(Story):
    """The site keeps its promises in memory alone."""

    def _restart(self, robot: Robot) -> None:
        super()._restart(robot)
        self.site.core.alone.promises.clear()


def _first_broken(kind: type[Story]) -> str:
    for seed in range(300):
        try:
            kind(seed).live()
        except AssertionError as broken:
            return str(broken)
    return ""


def test_ablation_nobody_else_gets_it() -> None:
    """A site that goes on auctioning what those who were lost may begin, is found out."""
    with patch.object(Alone, "_lost", lambda alone, promise, now: []):
        assert "gave it to somebody else" in _first_broken(Story)


def test_ablation_promises_survive_a_restart() -> None:
    """So is one that does not know them any more after it was killed."""
    assert "gave it to somebody else" in _first_broken(Forgetful)
