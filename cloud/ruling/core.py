"""The standing rules of the cloud, a Part of the planner. A rule is an event of the cloud's own stream, and follows in the
streams for the sites that it speaks of: at once in those that may be written to, in the others (a new one too) at their greeting.
"""

from typing import ClassVar, Protocol

import msgspec

from cloud.fleet import Fleet
from cloud.part import Fold, Part, Step
from cloud.port import Problem
from cloud.ruling.inputs import AddRule, RemoveRule
from sync.outputs import Reply
from sync.values import Now
from workflow.event import Event
from workflow.rule_events import RuleRefused, RuleRegistered, RuleRemoved
from workflow.steering_events import RuleFired

RULES_MAX = 1_000


class Planning(Protocol):
    """What standing rules need of the planner."""

    @property
    def fleet(self) -> Fleet: ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...


class Known(msgspec.Struct, array_like=True):
    """A rule: its JSON, since when (UTC ms), for which site (empty: for all), and what came of it. `refused`: why, by site.

    `is_ours` is false of one that is known from the stream for a site alone: the cloud's own was lost with its disk."""

    document: bytes
    set_ms: int
    site: str
    is_ours: bool = True
    fired: int = 0
    errors: int = 0
    fired_ms: int = 0
    error: str = ""
    error_ms: int = 0
    refused: dict[str, str] = {}


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    rules: dict[str, Known]
    told: dict[str, dict[str, int]]


class RuleBook(Part):
    """`rules` are those that hold; `told[site]` those that the stream for the site holds, with their `set_ms`."""

    name: ClassVar[str] = "rules"

    def __init__(self, planner: Planning) -> None:
        self._planner = planner
        self.rules: dict[str, Known] = {}
        self.told: dict[str, dict[str, int]] = {}

    def steps(self) -> dict[type, Step]:
        return {AddRule: self._add, RemoveRule: self._remove}

    def own_folds(self) -> dict[type, Fold]:
        return {RuleRegistered: self._fold_registered, RuleRemoved: self._fold_removed}

    def site_folds(self) -> dict[type, Fold]:
        return {RuleFired: self._fold_fired, RuleRefused: self._fold_refused}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        self._tell(site, now, out)

    # Asked ------------------------------------------------------------------------------------------------------------

    def _add(self, input: AddRule, now: Now, out: list[object]) -> None:
        plan = input.plan
        known = self.rules.get(plan.name)
        if known is not None and known.document != plan.document:
            detail = f"there is a rule {plan.name} already, which says something else: remove it first, or choose another name"
            out.append(Reply(input.token, Problem(409, "rule_exists", detail)))
            return
        if known is None and len(self.rules) >= RULES_MAX:
            detail = f"{RULES_MAX:,} standing rules are kept already: remove one that is not needed any more"
            out.append(Reply(input.token, Problem(409, "rules_full", detail)))
            return
        if known is None:
            self._planner.note("", RuleRegistered(plan.name, plan.document, now.wall_ms), now, out)
            self._tell_all(now, out)
        out.append(Reply(input.token, None))

    def _remove(self, input: RemoveRule, now: Now, out: list[object]) -> None:
        if input.name not in self.rules:
            out.append(Reply(input.token, self.unknown(input.name)))
            return
        self._planner.note("", RuleRemoved(input.name), now, out)
        self._tell_all(now, out)
        out.append(Reply(input.token, None))

    def untell(self, site: str) -> None:
        self.told.pop(site, None)

    def unknown(self, name: str) -> Problem:
        """The refusal of a name that no rule has."""
        known = ", ".join(sorted(self.rules)[:20]) or "none"
        return Problem(404, "rule_unknown", f"there is no standing rule {name} (known: {known})")

    def _tell_all(self, now: Now, out: list[object]) -> None:
        for site in sorted(self._planner.fleet.sites):
            self._tell(site, now, out)

    def _tell(self, site: str, now: Now, out: list[object]) -> None:
        """Write into the stream for the site what it does not hold yet, if that may be written to."""
        if not self._planner.fleet.site(site).greeted:
            return
        wanted = {name: rule for name, rule in self.rules.items() if rule.site in ("", site)}
        told = dict(self.told.get(site, {}))
        for name in told:
            if name not in wanted:
                self._planner.note(site, RuleRemoved(name), now, out)
        for name, rule in wanted.items():
            if told.get(name) != rule.set_ms:
                self._planner.note(site, RuleRegistered(name, rule.document, rule.set_ms), now, out)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_registered(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, RuleRegistered)
        if reader:
            self.told.setdefault(reader, {})[event.name] = event.at_ms
        if not reader or event.name not in self.rules:
            site = msgspec.json.decode(event.document).get("scope", {}).get("site", "")
            self.rules[event.name] = Known(event.document, event.at_ms, site, is_ours=not reader)

    def _fold_removed(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, RuleRemoved)
        if reader:
            self.told.get(reader, {}).pop(event.name, None)
        if (known := self.rules.get(event.name)) is not None and (not reader or not known.is_ours):
            del self.rules[event.name]

    def _fold_fired(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, RuleFired)
        if (known := self.rules.get(event.name)) is None:
            return
        if event.error:
            known.errors, known.error, known.error_ms = known.errors + 1, event.error, time_ms
        else:
            known.fired, known.fired_ms = known.fired + 1, time_ms

    def _fold_refused(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, RuleRefused)
        if (known := self.rules.get(event.name)) is not None:
            known.refused = {**known.refused, site: event.reason}

    def save(self) -> bytes:
        if not self.rules and not any(self.told.values()):
            return b""
        rules = {name: self.rules[name] for name in sorted(self.rules)}
        told = {site: dict(sorted(self.told[site].items())) for site in sorted(self.told) if self.told[site]}
        return msgspec.msgpack.encode(Saved(rules, told))

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.rules, self.told = saved.rules, saved.told


_SAVED = msgspec.msgpack.Decoder(Saved)
