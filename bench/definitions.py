"""The workflows that are measured."""

from typing import Any

Document = dict[str, Any]


def chain(tasks: int, capability: str, effect: str, last: str = "") -> Document:
    """Tasks one after the other, and after them one of the capability `last` if it is named."""
    steps = {f"t{number}": _task(capability, effect, [f"t{number - 1}"] if number else []) for number in range(tasks)}
    if last:
        steps["last"] = _task(last, effect, [f"t{tasks - 1}"])
    return _document(f"chain-{tasks}-{capability.replace('.', '-')}-{effect}", steps)


def fan(tasks: int, capability: str) -> Document:
    """Tasks side by side, and one that needs them all."""
    steps = {f"t{number}": _task(capability, "repeatable", []) for number in range(tasks)}
    return _document("fan", {**steps, "join": _task(capability, "repeatable", list(steps))})


def layered(tasks: int, width: int, needs: int, capability: str) -> Document:
    """Layers of `width` tasks; each task needs `needs` neighbouring ones of the layer before."""
    steps = {}
    for number in range(tasks):
        above, place = number - number % width - width, number % width
        near = [f"t{above + (place + step) % width}" for step in range(needs)] if above >= 0 else []
        steps[f"t{number}"] = {"capability": capability, **({"needs": near} if near else {})}
    return _document("layered", steps)


def waiting(duration: str) -> Document:
    """One task that waits."""
    return _document("waiting", {"wait": {"wait": {"for": duration}}})


def grouped(groups: int, capability: str) -> Document:
    """Groups of two tasks, one after the other."""
    steps: dict[str, Document] = {}
    for number in range(groups):
        inside = {"a": _task(capability, "repeatable", []), "b": _task(capability, "repeatable", ["a"])}
        steps[f"g{number}"] = {"parallel": {"tasks": inside}, "needs": [f"g{number - 1}"] if number else []}
    return _document("grouped", steps)


def ref(document: Document) -> str:
    """name@version."""
    return f"{document['name']}@{document['version']}"


def task_count(document: Document) -> int:
    """Tasks of one run."""
    return len(document["tasks"])


def _task(capability: str, effect: str, needs: list[str]) -> Document:
    return {"capability": capability, "effect": effect, "needs": needs}


def _document(name: str, tasks: dict[str, Document]) -> Document:
    return {"name": name, "version": "1", "tasks": tasks}
