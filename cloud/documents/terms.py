"""`?level=strong&when_cut=fail&resolver=home&sites=harbour,airport`: on which terms a document is to begin."""

from collections.abc import Mapping

import msgspec

from cloud.merging.asked import rules_asked
from cloud.problems import of_parameters
from sync.documents.terms import MERGING, RESOLVERS, Terms, terms_problem
from sync.levels import Level
from workflow.document_checks import check_problem
from workflow.durations import DURATION_RULE, parse_duration

NAMES = ("level", "versions", "time", "when_cut", "level_wait", "resolver", "sites", "multi_writer", "rules", "acyclic", "checks")
VERSIONS_MAX = 1_000_000


def terms_asked(parameters: Mapping[str, str]) -> Terms | None:
    """None if none are named. `level` may have its bounds with it: bounded,versions=10,time=5s. Raises Problem (422)."""
    if not any(name in parameters for name in NAMES):
        return None
    kind, *more = parameters.get("level", "eventual").split(",")
    said = {**parameters, **dict(each.partition("=")[::2] for each in more)}
    errors = list[tuple[str, str]]()
    if kind not in ("strong", "bounded", "eventual"):
        errors.append(("level", f"{kind!r} is none; allowed: strong, bounded, eventual"))
    if (when_cut := said.get("when_cut", "wait")) not in ("wait", "fail"):
        errors.append(("when_cut", f"{when_cut!r} is none; allowed: wait, fail"))
    time_ms, wait_ms = _duration(said, "time", errors), _duration(said, "level_wait", errors)
    versions = _versions(said.get("versions", ""), errors)
    resolver = said.get("resolver", "home")
    if resolver not in RESOLVERS:
        errors.append(("resolver", f"{resolver!r} is none; allowed: {', '.join(RESOLVERS)}"))
    if errors:
        raise of_parameters(errors)
    sites = tuple(sorted(filter(None, said.get("sites", "").split(","))))
    level = Level(kind, versions, time_ms, when_cut, wait_ms)  # type: ignore[arg-type]
    is_shared = said.get("multi_writer", str(resolver in MERGING)).lower() == "true"
    rules, is_acyclic = rules_asked(parameters.get("rules", "")), said.get("acyclic", "").lower() == "true"
    terms = Terms(level, resolver, is_shared, sites, rules, is_acyclic, _checks(parameters.get("checks", "")))
    if problem := terms_problem(terms):
        raise of_parameters([("level", problem)])
    return terms


def _checks(text: str) -> tuple[str, ...]:
    """`checks=["value.speed <= 2.0"]`: what must hold after every edit. Raises Problem (422)."""
    if not text:
        return ()
    try:
        checks = _CHECKS.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise of_parameters([("checks", f"{text[:60]!r} is no JSON list of expressions: {error}")]) from None
    if wrong := [("checks", f"{check[:60]!r}: {problem}") for check in checks if (problem := check_problem(check))]:
        raise of_parameters(wrong)
    return checks


_CHECKS = msgspec.json.Decoder(tuple[str, ...])


def _duration(said: Mapping[str, str], name: str, errors: list[tuple[str, str]]) -> int:
    text = said.get(name)
    try:
        return parse_duration(text) if text else 0
    except ValueError:
        errors.append((name, f"{text!r} is none; allowed: {DURATION_RULE}"))
        return 0


def _versions(text: str, errors: list[tuple[str, str]]) -> int:
    if not text:
        return 0
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else 0
    if not 1 <= number <= VERSIONS_MAX:
        errors.append(("versions", f"{text!r} is none; allowed: 1 to {VERSIONS_MAX:,}"))
    return number
