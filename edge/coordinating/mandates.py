"""What has been decided under each mandate of a site's hierarchical runs, a Part of the executor.

A mandate is what a run's definition delegates to the site, and the site to a group: so many tasks, so long, and what holds while
the level above cannot be heard. What was spent follows from the awards in the log, so it survives restarts; a run that comes from
another site begins anew, under the next epoch of its home.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from coordination.hierarchy import Delegation, Loss, Mandate, Refusal, Wanted
from edge.home import Home
from edge.part import Fold, Part
from sync.values import Now
from workflow.coordination_events import TaskAwarded, TaskDelegated
from workflow.event import Event
from workflow.events import FragmentEnded
from workflow.fragment import Fragment
from workflow.home_events import FragmentDropped, FragmentYielded
from workflow.tasks import LevelPlan

HIERARCHICAL = "hierarchical"


class Spent(msgspec.Struct, array_like=True):
    """Of one run: the tasks decided here by epoch of its home, and by group; by task which group has it now."""

    epoch: int = 0
    tasks: int = 0
    groups: dict[str, int] = {}
    with_group: dict[int, str] = {}


@dataclass(slots=True)
class Mandates(Part):
    """By run what was spent; when a mandate with an end began is of the moment: after a restart its time counts anew."""

    name: ClassVar[str] = "mandates"
    home: Home
    spent: dict[str, Spent] = field(default_factory=dict)
    _began_ms: dict[tuple[str, str], int] = field(default_factory=dict)

    def folds(self) -> dict[type, Fold]:
        gone: dict[type, Fold] = dict.fromkeys((FragmentEnded, FragmentYielded, FragmentDropped), self._forget)
        return {TaskDelegated: self._delegated, TaskAwarded: self._awarded, **gone}

    def save(self) -> bytes:
        return msgspec.msgpack.encode(dict(sorted(self.spent.items()))) if self.spent else b""

    def restore(self, body: bytes) -> None:
        self.spent = _SPENT.decode(body)

    def refusal(self, fragment: Fragment, task: int, level: LevelPlan, group: str, now: Now) -> Refusal | None:
        """Why the site (group empty), or the group, may not decide the task; None if it may."""
        mandate = self._mandate(fragment, level, group, now)
        return mandate.refusal(Wanted(fragment.run, fragment.id_of(task), fragment.task(task).capability), now.mono_ms)

    def _mandate(self, fragment: Fragment, level: LevelPlan, group: str, now: Now) -> Mandate:
        to, expires_ms = group or str(self.home.site), 0
        if level.expires_ms:
            expires_ms = self._began_ms.setdefault((fragment.run, group), now.mono_ms) + level.expires_ms
        given = Delegation(
            level=level.level,
            to=to,
            epoch=fragment.epoch,
            runs=(fragment.run,),
            tasks_max=level.budget,
            expires_ms=expires_ms,
            on_loss=Loss(level.on_loss),
        )
        spent = self.spent.get(fragment.run, Spent())
        counts = spent.epoch == fragment.epoch
        tasks = (spent.groups.get(group, 0) if group else spent.tasks) if counts else 0
        # A group hears its site as long as it hears anything; a site may be cut off from the cloud.
        is_cut = not group and self.home.gate.cut is not None
        return Mandate(given, tasks, 0.0, {fragment.run: None} if tasks else {}, is_cut)

    def _of(self, run: str) -> Spent:
        fragment = self.home.fragments.look(run)
        epoch = fragment.epoch if fragment is not None else 0
        spent = self.spent.get(run)
        if spent is None or spent.epoch != epoch:
            spent = self.spent[run] = Spent(epoch)
        return spent

    def _delegated(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, TaskDelegated)
        if is_own:
            self._of(run).with_group[event.task] = event.to

    def _awarded(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, TaskAwarded)
        if not is_own or event.protocol != HIERARCHICAL:
            return
        spent = self._of(run)
        group = spent.with_group.pop(event.task, "")
        if event.agent:
            spent.tasks += 1
            if group:
                spent.groups[group] = spent.groups.get(group, 0) + 1

    def _forget(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self.spent.pop(run, None)
        for key in [key for key in self._began_ms if key[0] == run]:
            del self._began_ms[key]


_SPENT = msgspec.msgpack.Decoder(dict[str, Spent])
