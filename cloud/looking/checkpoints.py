"""The checkpoints of a run: the versions that it can be taken back to, and what it was like there.

Each completed task is one, and those with a name. Which there are, the present state tells; what the run was like at each is
folded from its history, so nothing more is kept for them.
"""

from dataclasses import dataclass, field
from itertools import islice, takewhile

from cloud.conditions import path_of
from cloud.looking.past import Past
from cloud.looking.views import CheckpointView, HeldAttempt, HeldResource
from cloud.runs import Run
from sync.clock import wall_ms
from sync.commit import Row
from workflow.attending import holds_resources
from workflow.fragment import Fragment
from workflow.rollback import completed, has_lasting_effect

STAYS_MAX = 100


@dataclass(slots=True)
class Sought:
    """One version of a fragment, and why it is a checkpoint."""

    task: str = ""
    steps: int = 0
    names: list[tuple[str, int]] = field(default_factory=list)  # With the time (UTC ms) at which each was given.
    stays: list[str] = field(default_factory=list)


def sought_in(run: Run) -> dict[tuple[str, int], Sought]:
    """The checkpoints that the run has now, by site and version."""
    found: dict[tuple[str, int], Sought] = {}
    for fragment in run.fragments:
        if fragment is None:
            continue
        stamps = fragment.stamps
        for steps, task in enumerate(completed(fragment)[: run.plan.checkpoints]):
            assert stamps is not None, "something is completed"
            found[fragment.site, stamps[task]] = Sought(fragment.id_of(task), steps)
        for named in fragment.extras.checkpoints if fragment.extras is not None else ():
            found.setdefault((fragment.site, named.version), Sought()).names.append((named.name, named.time_ms))
        _note_what_stays(fragment, found)
    return found


def bare_checkpoints(sought: dict[tuple[str, int], Sought]) -> list[CheckpointView]:
    """What the state alone tells, where the history that would tell the rest has left the log: newest first by version."""
    found: list[CheckpointView] = []
    for (site, version), wanted in sorted(sought.items(), key=lambda each: (-each[0][1], each[0][0])):
        stays = wanted.stays
        if wanted.task:
            found.append(CheckpointView(site, version, 0, "", "", -1, wanted.task, "", wanted.steps, stays=stays))
        for name, time_ms in reversed(wanted.names):
            found.append(CheckpointView(site, version, time_ms, "", "", -1, "", name, stays=stays))
    return found


def _note_what_stays(fragment: Fragment, found: dict[tuple[str, int], Sought]) -> None:
    """What going back to each would leave as it is, the latest first, STAYS_MAX at most."""
    stamps = fragment.stamps
    lasting = [task for task in completed(fragment) if has_lasting_effect(fragment, task)]
    for (site, version), sought in found.items():
        if site == fragment.site and stamps is not None:
            later = takewhile(lambda task, version=version: stamps[task] > version, lasting)  # type: ignore[misc]
            sought.stays = [fragment.id_of(task) for task in islice(later, STAYS_MAX)]


def checkpoints_at(past: Past, site: str, row: Row, sought: dict[tuple[str, int], Sought]) -> list[CheckpointView]:
    """Those that the run has come to with the event, which was folded just now."""
    run = past.run
    fragment = run.fragment(site) if run is not None and site else None
    if run is None or fragment is None or (wanted := sought.get((site, fragment.version))) is None:
        return []
    view = CheckpointView(
        site,
        fragment.version,
        wall_ms(row.time),
        run.state(),
        path_of(run),
        run.percent(),
        attempts=[HeldAttempt(fragment.id_of(t), a.agent, a.number) for t, a in sorted(fragment.live.items())],
        resources=held_resources(fragment),
        stays=wanted.stays,
    )
    found = []
    for name, _ in wanted.names:
        named = CheckpointView(*(getattr(view, each) for each in view.__struct_fields__))
        named.name = name
        found.append(named)
    if wanted.task:
        view.task, view.steps = wanted.task, wanted.steps
        found.append(view)
    return found


def held_resources(fragment: Fragment) -> list[HeldResource]:
    """What tasks hold: those in agents' hands, groups that go on, and those of which nobody knows whether they still do."""
    holding = (task for task in range(len(fragment.states)) if holds_resources(fragment, task))
    return [HeldResource(fragment.id_of(task), name, count) for task in holding for name, count in fragment.task(task).resources]
