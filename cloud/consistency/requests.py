"""`?consistency=strong|bounded&max_staleness=2s&min_version=3`: how fresh an answer must be."""

from collections.abc import Mapping

from cloud.consistency.asked import Fresh
from cloud.problems import of_parameters
from workflow.durations import DURATION_RULE, parse_duration

VERSION_MAX = 1 << 53


def fresh(parameters: Mapping[str, str]) -> Fresh | None:
    """None if nothing is asked. Raises Problem (422)."""
    level, staleness, version = (parameters.get(name) for name in ("consistency", "max_staleness", "min_version"))
    if level is None and staleness is None and version is None:
        return None
    errors = list[tuple[str, str]]()
    if level not in (None, "strong", "bounded", "eventual"):
        errors.append(("consistency", f"{level!r} is none; allowed: strong, bounded, eventual"))
    if level == "bounded" and staleness is None and version is None:
        errors.append(("consistency", "bounded by what? allowed: max_staleness, min_version, or both"))
    staleness_ms = number = -1
    try:
        staleness_ms = parse_duration(staleness) if staleness is not None else -1
    except ValueError:
        errors.append(("max_staleness", f"{staleness!r} is none; allowed: {DURATION_RULE}"))
    if version is not None:
        number = int(version) if version.isascii() and version.isdecimal() and len(version) < 17 else VERSION_MAX
        if number >= VERSION_MAX:
            errors.append(("min_version", f"{version!r} is none; allowed: a whole number"))
    if errors:
        raise of_parameters(errors)
    return Fresh(level == "strong", staleness_ms, number)
