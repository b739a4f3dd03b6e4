"""The definitions that a site knows, as the cloud sent them, kept beside the log; and which version of each is the latest."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sync.outputs import Persist
from workflow.events import DefinitionRegistered
from workflow.plan import Plan, plan_from_document

_DOCUMENT, _LATEST = "definition/", "latest/"


@dataclass(slots=True)
class Definitions:
    """`latest` maps a name to `name@version`: the last of which the cloud said so. `plans` is shared with whoever runs them."""

    plans: dict[str, Plan]
    latest: dict[str, str] = field(default_factory=dict)
    _kept: set[str] = field(default_factory=set)

    def know(self, event: DefinitionRegistered) -> bool:
        """Fold one. False if it was known already."""
        if event.ref in self.plans:
            return False
        plan = self.plans[event.ref] = plan_from_document(event.document)
        name = plan.ref.partition("@")[0]
        if event.is_latest or name not in self.latest:
            self.latest[name] = event.ref
        return True

    def hear(self, event: DefinitionRegistered, out: list[object]) -> None:
        """The cloud sends one, and it is kept."""
        if self.know(event):
            self._keep(event.ref, out)

    def restore(self, persisted: Mapping[str, bytes]) -> None:
        """Begin from those that were kept. Of a log that does not say which is the latest, the last one is."""
        for key, value in persisted.items():
            if key.startswith(_DOCUMENT):
                self.know(DefinitionRegistered(key.removeprefix(_DOCUMENT), value))
                self._kept.add(key)
        for key, value in persisted.items():
            if key.startswith(_LATEST):
                self.latest[key.removeprefix(_LATEST)] = value.decode()

    def restored(self, out: list[object]) -> None:
        """Those that are known only from what was fetched back after a loss are kept from here on."""
        for ref in self.plans:
            if _DOCUMENT + ref not in self._kept:
                self._keep(ref, out)

    def _keep(self, ref: str, out: list[object]) -> None:
        name = ref.partition("@")[0]
        self._kept.add(_DOCUMENT + ref)
        out += [Persist(_DOCUMENT + ref, self.plans[ref].packed), Persist(_LATEST + name, self.latest[name].encode())]
