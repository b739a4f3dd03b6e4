"""A run's condition in lines of text: what came of it, where it is, and what stands in its way."""

from collections.abc import Iterator
from typing import Any

from tiercel.answers import Run
from tiercel.cli.text import short, when


def condition_lines(view: Run) -> Iterator[str]:
    """Only what there is to say."""
    if view.get("output") is not None:
        yield f"output {short(view['output'], 500)}"
    told = view.get("condition") or {}
    if parent := view["run"].get("parent"):
        yield f"parent {parent}"
    if path := told.get("path"):
        stage = f", stage {told['stage']}" if told.get("stage") else ""
        yield f"at {path}{stage}"
    if contract := view.get("contract"):
        yield contract_line(contract)
    if told.get("paused") or told.get("paused_tasks"):
        yield f"paused: {told.get('paused') or ', '.join(told['paused_tasks'])}"
    if missing := told.get("missing"):
        yield f"failed, and the run goes on or is done without: {short(', '.join(missing), 500)}"
    if kept := told.get("kept"):
        yield kept_line(kept)
    for incident in told.get("incidents", []):
        yield f"incident at {incident['task']}: {incident['code']}: {short(incident['message'], 300)}"
    for asked in told.get("approvals", []):
        who = ", ".join(asked["by"]) or "anybody"
        yield f"{asked['task']} asks {who} to decide: {short(asked['request'], 300)} (hash {asked['hash']})"
    for hold in told.get("holds", []):
        yield f"{hold['task']} is held by {hold['hold']}: {hold['reason']}"
    for child in view.get("children", []):
        yield f"child {child['run']} of {child.get('task') or 'a rule'}: {child['state']}"


def contract_line(contract: dict[str, Any]) -> str:
    """What the run is promised."""
    level, autonomy = contract["consistency"], contract["autonomy"]
    said = [level["level"], *_bounds(level, {"versions": "versions", "time_ms": "time", "wait_ms": "wait"})]
    if level.get("when_cut"):
        said.append(f"when_cut={level['when_cut']}")
    kept = [autonomy["when_cut"], *_bounds(autonomy, {"horizon_ms": "horizon", "budget": "budget", "then": "then"})]
    return f"consistency {','.join(said)}; autonomy {','.join(kept)}"


def _bounds(told: dict[str, Any], names: dict[str, str]) -> Iterator[str]:
    for key, name in names.items():
        if value := told.get(key):
            yield f"{name}={value}ms" if key.endswith("_ms") else f"{name}={value}"


def kept_line(kept: list[str]) -> str:
    """What going back has not undone."""
    return f"went back, but nothing undid what these had done: {short(', '.join(kept), 500)}"


def explained_lines(view: dict[str, Any]) -> Iterator[str]:
    """Why a run does not go on, task by task."""
    yield f"{view['run']} is {view['state']}"
    if view.get("waits_for"):
        yield f"  waits for {view['waits_for']}"
    for site in view.get("sites", []):
        if site.get("note"):
            yield f"  {site['note']}"
        for reason in site.get("reasons", []):
            until = f" (until {when(reason['until'])})" if reason.get("until") else ""
            since = f" (since {when(reason['since'])})" if reason.get("since") else ""
            yield f"  {reason['task']} [{reason['kind']}]: {reason['why']}{since}{until}"
