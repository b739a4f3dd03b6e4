"""By which rule the concurrent writes of a field become the one value that is shown, as it is said when the document begins.

A rule only ever judges among writes that did not know of each other: whoever had seen a write stands over it, whatever any rule
or clock says. Each rule orders any values at all, so that every replica comes to the same end whatever a writer has let through;
what does not fit is refused where it is written (`fit`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from sync.merging.dots import Dot

PARTED = ("union", "sum")
"""Their fields are kept in parts that never contradict each other: nobody loses."""
LEVELS_MAX = 32
ELEMENTS_MAX = 1_000
NUMBER_MAX = 1 << 53
EXPRESSION_CHARACTERS_MAX = 1_000
RULES_MAX = 64
_decode = msgspec.json.decode


class Evaluate(Protocol):
    """What an expression makes of two values, as JSON: the same wherever it is asked. Raises ValueError if it makes none."""

    def __call__(self, expression: str, mine: object, theirs: object) -> bytes: ...


class Sibling(NamedTuple):
    """One of the writes of a field that stand side by side. An empty value: it has taken the field away."""

    dot: Dot
    value: bytes
    stamp: int
    quarantined: bool = False

    @property
    def rank(self) -> tuple[bool, int, Dot]:
        """The latest is the greatest; what is quarantined is before all that is not."""
        return not self.quarantined, self.stamp, self.dot


class Outcome(NamedTuple):
    """What is shown (empty: nothing), whose write that is (None: of no single one), and whose it is not, and why."""

    value: bytes
    stands: Dot | None
    losers: tuple[Dot, ...]
    reason: str


class Rule(NamedTuple):
    """`levels` are of safety, from the least safe on; `least`, `most`, `share` of sum; `expression` of cel."""

    kind: str
    levels: tuple[object, ...] = ()
    least: int | None = None
    most: int | None = None
    share: int = 0
    expression: str = ""

    @property
    def start(self) -> int:
        """From where a sum counts."""
        if self.least is not None and self.least > 0:
            return self.least
        return self.most if self.most is not None and self.most < 0 else 0


LWW = Rule("lww")


def read_rule(text: str) -> Rule:
    """The rule that is written so. Raises ValueError, which says what is allowed."""
    kind, _, rest = text.partition(",")
    if kind not in KINDS:
        raise ValueError(f"rule {kind[:40]!r} is none; allowed: {', '.join(KINDS)}")
    if kind == "safety":
        levels = tuple(level.strip() for level in rest.split(","))
        if len(set(levels)) != len(levels) or not 2 <= len(levels) <= LEVELS_MAX or not all(levels):
            raise ValueError(f"safety names 2 to {LEVELS_MAX} levels, the safest last: safety,run,slow,stop")
        return Rule(kind, levels)
    if kind == "cel":
        if not 1 <= len(rest) <= EXPRESSION_CHARACTERS_MAX:
            raise ValueError(f"cel has an expression of 1 to {EXPRESSION_CHARACTERS_MAX:,} characters: cel,mine + theirs")
        return Rule(kind, expression=rest)
    if kind == "sum":
        return _read_sum(rest)
    if rest:
        raise ValueError(f"rule {kind} takes nothing more, and {rest[:40]!r} was said")
    return Rule(kind)


def _read_sum(rest: str) -> Rule:
    said = dict(each.partition("=")[::2] for each in rest.split(",")) if rest else {}
    try:
        numbers = {name: int(number) for name, number in said.items()}
    except ValueError:
        numbers = {"": 0}
    if not set(numbers) <= {"min", "max", "share"} or any(abs(number) > NUMBER_MAX for number in numbers.values()):
        raise ValueError(f"{rest[:60]!r} is no bound; a sum is bounded so: sum,min=0,max=100,share=10")
    least, most, share = numbers.get("min"), numbers.get("max"), numbers.get("share", 0)
    if share < 0 or (least is not None and most is not None and least > most):
        raise ValueError("a sum lies from min to max, and a share is at least 0")
    return Rule("sum", (), least, most, share)


# What a field takes ---------------------------------------------------------------------------------------------------


def fit(rule: Rule, value: object, shown: object) -> str:
    """Why nobody may write this to a field of the rule over what is shown there; empty if it can be."""
    if rule.kind in ("monotonic", "max", "min"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "takes numbers"
        if rule.kind == "monotonic" and _is_number(shown) and value < shown:  # type: ignore[operator]
            return f"only grows, and is {shown} already"
    elif rule.kind == "safety" and value not in rule.levels:
        return f"takes one of {', '.join(map(str, rule.levels))}"
    elif rule.kind == "union":
        if not isinstance(value, list) or any(isinstance(each, list | dict) for each in value):
            return "takes a list of strings, numbers and the like"
        if len(value) > ELEMENTS_MAX:
            return f"takes at most {ELEMENTS_MAX:,} elements, this list has {len(value):,}"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Who stands -----------------------------------------------------------------------------------------------------------


def judge(rule: Rule, siblings: Sequence[Sibling], evaluate: Evaluate | None = None) -> Outcome:
    """What comes of the concurrent writes of a field, in whichever order they are given; there is at least one."""
    if len(siblings) == 1:
        return Outcome(siblings[0].value, siblings[0].dot, (), "")
    if rule.kind == "cel":
        return _computed(rule, sorted(siblings), evaluate)
    measure, why = _MEASURES.get(rule.kind, (None, ""))
    if measure is None:
        return _greatest(siblings, lambda sibling: 0, why)
    return _greatest(siblings, lambda sibling: measure(rule, sibling.value), why)


def _greatest(siblings: Sequence[Sibling], measure: Callable[[Sibling], float], why: str) -> Outcome:
    """Of those that measure the most the latest."""
    ranked = sorted(siblings, key=lambda sibling: (measure(sibling), sibling.rank), reverse=True)
    best, *others = ranked
    losers = tuple(other.dot for other in others if other.value != best.value)
    if any(measure(other) == measure(best) for other in others):
        why = "it was written later, by the stamps of both"
        if not best.quarantined and all(other.quarantined for other in others if measure(other) == measure(best)):
            why = "the other's clock was too far ahead, so its stamp does not count"
    return Outcome(best.value, best.dot, losers, why)


def _computed(rule: Rule, siblings: list[Sibling], evaluate: Evaluate | None) -> Outcome:
    """One after the other by their dots. What has no value falls back to the latest."""
    value = siblings[0].value
    try:
        if evaluate is None:
            raise ValueError("no expressions are evaluated here")
        for sibling in siblings[1:]:
            value = evaluate(rule.expression, _value(value), _value(sibling.value))
    except ValueError as error:
        latest = _greatest(siblings, lambda sibling: 0, "")
        return latest._replace(reason=f"the expression gave no value ({error}), so the latest stands")
    same = [sibling for sibling in siblings if sibling.value == value]
    if not same:
        return Outcome(value, None, (), "made of both by the expression")
    losers = tuple(sibling.dot for sibling in siblings if sibling.value != value)
    return Outcome(value, max(same, key=lambda sibling: sibling.rank).dot, losers, "the expression gave its value")


def _value(value: bytes) -> object:
    return _decode(value) if value else None


def _number(rule: Rule, value: bytes) -> float:
    """What is no number is less than any."""
    number = _value(value)
    if not _is_number(number):
        return float("-inf")
    return -number if rule.kind == "min" else number  # type: ignore[operator,return-value]


def _severity(rule: Rule, value: bytes) -> float:
    level = _value(value)
    return rule.levels.index(level) if value and level in rule.levels else -1


def _reality(rule: Rule, value: bytes) -> float:
    fact = _value(value)
    return 1 if isinstance(fact, dict) and fact.get("physical") is True else 0


def _finality(rule: Rule, value: bytes) -> float:
    said = _value(value)
    state = said.get("state") if isinstance(said, dict) else said
    return {"completed": 2, "cancelled": 1}.get(state, 0) if isinstance(state, str) else 0


_MEASURES: dict[str, tuple[Callable[[Rule, bytes], float], str]] = {
    "monotonic": (_number, "progress only grows"),
    "max": (_number, "the larger number stands"),
    "min": (_number, "the smaller number stands"),
    "safety": (_severity, "the safest stands until somebody who has seen it says otherwise"),
    "physical": (_reality, "what is a fact stands over what was planned"),
    "cancel_complete": (_finality, "what has happened stands over what was called off"),
}
KINDS = ("lww", *_MEASURES, *PARTED, "cel")
