"""A machine in motion: who is asked before a step, and who is told of it after.

The order is SCXML's: exits from the leaf outward, the transition itself, entries from outside inward. All who may refuse are
asked before anything has changed; whoever is told sees the course where it has come to.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from workflow.machine import NOTHING, Machine, Memory, Transition

On = Literal["exit", "transition", "entry"]
Guard = Callable[[Transition], str]
"""Says why the step may not be; empty if it may."""
Listener = Callable[[Transition], None]


class Refused(ValueError):
    """A guard does not allow the step, though the machine would."""

    def __init__(self, machine: str, step: Transition, reason: str) -> None:
        self.step, self.reason = step, reason
        super().__init__(f"{machine} stays {step.source} and does not become {step.target}: {reason}")


@dataclass(slots=True)
class Course:
    """Where one instance of a machine is. A listener must not move it: the step that it is told of is still under way."""

    machine: Machine
    path: str = ""
    memory: Memory = field(default_factory=lambda: NOTHING)
    _guards: dict[tuple[On, str], list[Guard]] = field(default_factory=dict)
    _listeners: dict[tuple[On, str], list[Listener]] = field(default_factory=dict)
    _dependents: dict[str, list[Listener]] = field(default_factory=dict)
    _moving: bool = False

    def __post_init__(self) -> None:
        self.path = self.path or self.machine.start
        assert self.path in self.machine.leaves, f"{self.machine.name} has no leaf {self.path}"

    def before(self, on: On, path: str, guard: Guard) -> None:
        """Ask `guard` before the state is left or entered; with `transition`, before any step that begins in it."""
        self._guards.setdefault((on, self._known(path)), []).append(guard)

    def after(self, on: On, path: str, listener: Listener) -> None:
        """Tell `listener` once the state was left or entered; with `transition`, after any step that began in it."""
        self._listeners.setdefault((on, self._known(path)), []).append(listener)

    def subscribe(self, prefix: str, listener: Listener) -> None:
        """Tell `listener` of every step that leaves or enters the state or any inside it; "" is every step."""
        self._dependents.setdefault(self._known(prefix) if prefix else "", []).append(listener)

    def go(self, target: str) -> Transition:
        """Take a step. Raises InvalidTransition, or Refused if a guard does; nothing has changed then."""
        return self._take(self.machine.transition(self.path, target, self.memory))

    def resume(self) -> Transition:
        """Return to the leaf that was left for this one. Raises like `go`."""
        return self._take(self.machine.resume(self.path, self.memory))

    def _known(self, path: str) -> str:
        assert path in self.machine, f"{self.machine.name} has no state {path}"
        return path

    def _take(self, step: Transition) -> Transition:
        assert not self._moving, f"{self.machine.name} is on its way to {self.path}: a listener must not move it"
        moments = self._moments(step)
        for moment in moments:
            for guard in self._guards.get(moment, ()):
                if reason := guard(step):
                    raise Refused(self.machine.name, step, reason)
        self.path, self.memory, self._moving = step.target, step.memory, True
        try:
            self._tell(moments, step)
        finally:
            self._moving = False
        return step

    def _moments(self, step: Transition) -> list[tuple[On, str]]:
        exits: list[tuple[On, str]] = [("exit", state) for state in step.exited]
        steps: list[tuple[On, str]] = [("transition", state) for state in self.machine.around(step.source)]
        return [*exits, *steps, *(("entry", state) for state in step.entered)]

    def _tell(self, moments: list[tuple[On, str]], step: Transition) -> None:
        for moment in moments:
            for listener in self._listeners.get(moment, ()):
                listener(step)
        touched = dict.fromkeys(around for state in (*step.exited, *step.entered) for around in self.machine.around(state))
        for prefix in ("", *touched):
            for listener in self._dependents.get(prefix, ()):
                listener(step)
