"""What an event of the log makes of a site, beside its Parts: fragments, agents, definitions, schedules."""

from typing import TYPE_CHECKING

from edge.beginning import begin_anew
from edge.unheard import ANSWERED
from sync.values import RunId, StreamId
from workflow import home_events
from workflow.events import (
    AgentDeparted,
    AgentRegistered,
    AttemptResumed,
    DefinitionRegistered,
    Event,
    FragmentAdopted,
    FragmentEnded,
    TaskAssigned,
    ValueHanded,
)
from workflow.fragment import Fragment
from workflow.moving import definition_of, restore_moved
from workflow.reseed_events import SiteStreamBegun, StreamBegun
from workflow.schedule_events import ScheduleEvent, ScheduleFired
from workflow.steering_events import ChildRequested, FragmentReopened

if TYPE_CHECKING:
    from edge.executor import Executor


def fold(site: "Executor", stream: StreamId, run: str, event: object, time_ms: int) -> None:
    """Fold one event; of fragments that have ended, nothing is left to fold. `time_ms` is 0 of what has just been decided."""
    match event:
        case FragmentAdopted():
            site.unheard.answer(run, event)
            site.home.changed[run] = None
            site.fragments[run] = Fragment.adopt(RunId(run), site.plans[event.definition], event)
            if time_ms:  # Of the log: what has just been decided has its timers by what was decided with it.
                site.begun_ms[(run, -1)] = time_ms
        case Event() if type(event) in ANSWERED:
            site.unheard.note(run, event)
        case home_events.FactTold() | home_events.FailureTold() | home_events.HomeConfirmed():
            pass  # What comes of it is recorded as it is heard.
        case ValueHanded() if stream != site.stream:
            site.unheard.note(run, event)
        case home_events.FragmentTaken():
            site.unheard.answer(run, event)
            site.home.changed[run] = None
            site.fragments[run] = restore_moved(run, site.plans[definition_of(event.body)], event.body)
            if time_ms:
                site.begun_ms[(run, -1)] = event.begun_ms or time_ms
        case home_events.FragmentYielded() | home_events.FragmentDropped():
            site.unheard.answer(run, event)
            site.fragments.pop(run, None)
        case SiteStreamBegun():
            begin_anew(site, event)
        case StreamBegun():
            site.unheard.told_anew()
        case DefinitionRegistered():
            site.definitions.know(event)
        case AgentRegistered() | AgentDeparted():
            site.roster.evolve(event)
        case ScheduleEvent() if stream != site.stream:
            site.unheard.note(run, event)
        case ScheduleEvent():
            site.unheard.answer(run, event)
            site.schedules.book.evolve(event)
            for begun in event.runs if type(event) is ScheduleFired else ():
                site.unheard.note(begun, event)  # Until the run's adoption, which follows it, is folded.
        case Event():
            site.unheard.answer(run, event)
            if type(event) is FragmentReopened:
                site.reopening.reopen(run, event)
            elif type(event) is ChildRequested and event.here:
                site.unheard.note(event.child, event)  # Until the child's beginning, which follows it, is folded.
            if (fragment := site.fragments.get(run)) is not None:
                # Folding too: what a start folds must be in the next snapshots, for the floor moves past its events.
                site.home.changed[run] = None
                fragment.evolve(event)
                if fragment.freed or site.home.withdrawn.runs:
                    site.home.withdrawn.fold(fragment, event)
                if type(event) is TaskAssigned or type(event) is AttemptResumed:
                    site.begun_ms[(run, event.task)] = time_ms
                    if fragment.contract is not None and type(event) is TaskAssigned:
                        site.autonomy.begun_before(fragment, time_ms)
                elif type(event) is FragmentReopened:
                    site.begun_ms[(run, -1)] = time_ms  # It has its whole time once more.
                elif type(event) is FragmentEnded:
                    site.reopening.keep(site.fragments.pop(run))
