"""Emptying a site's cache, at the planner: the intent reaches the site once, whatever happens in between."""

from cloud.caches.core import KIND, ClearCache
from tests.cloud.control import Control
from workflow.cache_events import CacheClearRequested
from workflow.events import CommandAnswered


def clear(cloud: Control, site: str = "harbour") -> str:
    return str(cloud.ask(lambda token: ClearCache(token, site, "pick", "k1")))


def requests(cloud: Control) -> list[CacheClearRequested]:
    return [event for _, event in cloud.outposts["harbour"].inbox if isinstance(event, CacheClearRequested)]


def test_a_site_that_is_there_is_told_at_once() -> None:
    """And the command is settled by its answer, with what it says."""
    cloud = Control()
    cloud.join("harbour", "pick")
    command = clear(cloud)
    assert requests(cloud) == [CacheClearRequested(command, "pick", "k1", "harbour")]
    cloud.outposts["harbour"].say("", CommandAnswered(command, True, "results that are not kept any more: 1"))
    cloud.hear("harbour")
    intent = cloud.planner.intents.commands[command]
    assert (intent.kind, intent.state, intent.detail) == (KIND, "accepted", "results that are not kept any more: 1")


def test_a_site_that_has_not_greeted_is_told_when_it_does() -> None:
    """Over a restart too, from the log or a snapshot, and once."""
    for saves in (False, True):
        cloud = Control()
        cloud.join("harbour", "pick")
        cloud.begin_anew()
        command = clear(cloud)
        assert requests(cloud) == []
        if saves:
            cloud.snapshot()
        cloud.restart()
        cloud.link("harbour")
        assert [event.command for event in requests(cloud)] == [command]
        cloud.restart()
        assert [event.command for event in requests(cloud)] == [command]
        assert cloud.planner.intents.commands[command].homes == ["harbour"]
