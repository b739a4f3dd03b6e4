"""What an expression may see while it is evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Scope:
    """Values by name. `outputs`, `states` and `errors` are keyed by the numbers that the expression's own references hold;
    `locals` are what only some places know: `item` and `index` in a body, `output` in a validation, `event` in a rule."""

    inputs: Mapping[str, object] = field(default_factory=dict)
    outputs: Mapping[int, object] = field(default_factory=dict)
    run_id: str = ""
    states: Mapping[int, str] = field(default_factory=dict)
    errors: Mapping[int, object] = field(default_factory=dict)
    locals: Mapping[str, object] = field(default_factory=dict)
    run: Mapping[str, object] = field(default_factory=dict)  # What standing rules see of it besides the id.
