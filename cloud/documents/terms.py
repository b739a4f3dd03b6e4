"""`?level=strong&when_cut=fail&resolver=home&sites=harbour,airport`: on which terms a document is to begin.

Terms stay as long as the document exists, so nothing that was said is left out silently: a name that nobody knows, a bound that
the level does not have and a site that the cloud does not know are refused.
"""

from collections.abc import Collection, Mapping

import msgspec

from cloud.merging.asked import rules_asked
from cloud.problems import of_parameters
from sync.documents.terms import MERGING, RESOLVERS, Terms, terms_fault
from sync.levels import Level
from workflow.document_checks import check_problem
from workflow.durations import DURATION_RULE, parse_duration
from workflow.problems import Problems, choices

NAMES = ("level", "versions", "time", "when_cut", "level_wait", "resolver", "sites", "multi_writer", "rules", "acyclic", "checks")
EDITING = ("wait", "expected_version", "edit", "author", "base", "context")
"""What an edit may say besides."""
BOUNDS = {"eventual": (), "bounded": ("versions", "time", "when_cut"), "strong": ("when_cut", "level_wait")}
"""What each level may say more exactly."""
VERSIONS_MAX = 1_000_000


def terms_asked(parameters: Mapping[str, str], sites_known: Collection[str]) -> Terms | None:
    """None if none are named. `level` may have its bounds with it: bounded,versions=10,time=5s. Raises Problem (422)."""
    if errors := _unknown("", "parameter", parameters, (*NAMES, *EDITING)):
        raise of_parameters(errors)
    if not any(name in parameters for name in NAMES):
        return None
    kind, said = _level_asked(parameters, errors)
    if (when_cut := said.get("when_cut", "wait")) not in ("wait", "fail"):
        errors.append(("when_cut", f"{when_cut!r} is none; allowed: wait, fail"))
    time_ms, wait_ms = _duration(said, "time", errors), _duration(said, "level_wait", errors)
    versions = _versions(said.get("versions", ""), errors)
    resolver = said.get("resolver", "home")
    if resolver not in RESOLVERS:
        errors.append(("resolver", f"{resolver!r} is none; allowed: {', '.join(RESOLVERS)}"))
    if errors:
        raise of_parameters(errors)
    sites = _sites(said.get("sites", ""), sites_known)
    level = Level(kind, versions, time_ms, when_cut, wait_ms)  # type: ignore[arg-type]
    is_shared = _flag(said, "multi_writer", resolver in MERGING)
    rules, is_acyclic = rules_asked(parameters.get("rules", "")), _flag(said, "acyclic", False)
    terms = Terms(level, resolver, is_shared, sites, rules, is_acyclic, _checks(parameters.get("checks", "")))
    if (fault := terms_fault(terms)) is not None:
        raise of_parameters([fault])
    return terms


def _level_asked(parameters: Mapping[str, str], errors: list[tuple[str, str]]) -> tuple[str, dict[str, str]]:
    """The level, and all parameters with the bounds that are said with it."""
    kind, *more = parameters.get("level", "eventual").split(",")
    bounds = dict(each.strip().partition("=")[::2] for each in more)
    said = {**parameters, **bounds}
    if kind not in BOUNDS:
        errors.append(("level", f"{kind!r} is none; allowed: {', '.join(BOUNDS)}"))
        return kind, said
    known = sorted({name for names in BOUNDS.values() for name in names})
    unknown = _unknown("level", "bound", bounds, known)
    has = ", ".join(BOUNDS[kind]) or "none"
    beyond = [name for name in known if name in said and name not in BOUNDS[kind]]
    errors += unknown + [(name, f"the level {kind} has no such bound; allowed: {has}") for name in beyond]
    return kind, said


def _unknown(where: str, what: str, names: Collection[str], known: Collection[str]) -> list[tuple[str, str]]:
    """Names that nobody knows, with the nearest spelling."""
    problems = Problems()
    for name in sorted(set(names) - set(known)):
        problems.add_unknown((where or name,), what, name, known)
    return [(each.path, f"{each.message}; allowed: {each.allowed}") for each in problems.found]


def _sites(text: str, known: Collection[str]) -> tuple[str, ...]:
    """A site that nobody knows would never hold a replica. Raises Problem (422)."""
    sites = tuple(sorted(set(filter(None, text.split(",")))))
    if wrong := [site for site in sites if site not in known]:
        named = choices(sorted(known))
        raise of_parameters([("sites", f"{site[:60]!r} is no site that the cloud knows; known: {named}") for site in wrong])
    return sites


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


def _flag(said: Mapping[str, str], name: str, default: bool) -> bool:
    """Raises Problem (422)."""
    text = said.get(name, str(default)).lower()
    if text not in ("true", "false"):
        raise of_parameters([(name, f"{text[:60]!r} is none; allowed: true, false")])
    return text == "true"


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
