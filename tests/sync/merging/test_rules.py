"""What each rule makes of two writes that did not know of each other, and what it lets nobody write."""

import pytest

from sync.conflicts.events import ConflictRecorded
from sync.documents.events import EditRefused
from sync.documents.terms import Terms
from sync.levels import EVENTUAL
from sync.merging.conflicts import conflicts_of, restoring
from sync.merging.dots import Dot
from sync.merging.rules import KINDS, LWW, Sibling, judge, read_rule
from tests.sync.merging.replicas import DOCUMENT, Replicas

SAFETY, FACT, LATER_FACT = "safety,run,slow,stop", {"value": 1, "physical": True}, {"value": 2, "physical": True}


def met(rule: str, first: object, later: object, start: object = None) -> tuple[object, list[ConflictRecorded]]:
    """What a field becomes when two sites write at once, the second with the later clock; and what is on record."""
    replicas = Replicas(Terms(EVENTUAL, "semantic", True, (), (("field", rule),)))
    replicas.put("cloud", {} if start is None else {"field": start})
    replicas.heal()
    replicas.put("airport", {"field": first}, 5_000)
    there = replicas.put("harbour", {"field": later}, 6_000)
    replicas.heal()
    recorded = list(conflicts_of(DOCUMENT, replicas.at("cloud"), there.dot, 7_000, None))
    shown = replicas.value("cloud")
    assert isinstance(shown, dict)
    assert all(replicas.value(node) == shown for node in replicas.books)
    return shown.get("field"), recorded


@pytest.mark.parametrize(
    ("rule", "first", "later", "stands", "loses"),
    [
        ("lww", 1, 2, 2, b"1"),
        ("lww", 1, None, None, b"1"),
        ("monotonic", 7, 5, 7, b"5"),
        ("max", 2.5, 2, 2.5, b"2"),
        ("min", 2, 2.5, 2, b"2.5"),
        ("min", 2, None, 2, b""),
        ("physical", FACT, 2, FACT, b"2"),
        ("physical", FACT, LATER_FACT, LATER_FACT, b'{"physical":true,"value":1}'),
        ("cancel_complete", "completed", "cancelled", "completed", b'"cancelled"'),
        ("cancel_complete", {"state": "completed"}, "cancelled", {"state": "completed"}, b'"cancelled"'),
        (SAFETY, "stop", "run", "stop", b'"run"'),
        (SAFETY, "slow", None, "slow", b""),
    ],
)
def test_of_two_concurrent_writes_one_stands(rule: str, first: object, later: object, stands: object, loses: bytes) -> None:
    """By the field's rule, the same everywhere; the other is on record, once, with both sides and the reason."""
    shown, (conflict,) = met(rule, first, later, 0 if rule in ("max", "min", "monotonic") and later is None else None)
    assert shown == stands
    assert (conflict.loses.value, conflict.rule, conflict.field) == (loses, rule.partition(",")[0], "field")
    assert conflict.reason


@pytest.mark.parametrize(
    ("rule", "start", "first", "later", "together"),
    [
        ("union", ["a"], ["a", "b"], ["c"], ["b", "c"]),
        ("union", ["a"], [], ["a"], []),
        ("sum", 5, {"add": 2}, {"add": -4}, 3),
        ("sum", 5, 6, 7, 8),
        ("lww", 1, 2, 2, 2),
    ],
)
def test_where_nobody_loses_nothing_is_on_record(
    rule: str, start: object, first: object, later: object, together: object
) -> None:
    """Sums and unions keep what both did, and the same value written twice is no conflict."""
    assert met(rule, first, later, start) == (together, [])


def test_adding_wins_over_taking_away_at_the_same_time() -> None:
    """Of an element that one takes away and another, who did not know, adds anew."""
    replicas = Replicas()
    replicas.put("cloud", {"done": ["a"]})
    replicas.heal()
    replicas.put("airport", {"done": []})
    replicas.put("harbour", {"done": []})
    replicas.put("harbour", {"done": ["a"]})
    replicas.heal()
    assert replicas.value("cloud") == {"done": ["a"]}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"progress": "far"}, "takes numbers"),
        ({"progress": 3}, "only grows, and is 5 already"),
        ({"speed": "fly"}, "takes one of run, slow, stop"),
        ({"done": "a"}, "takes a list"),
        ({"done": [[]]}, "takes a list"),
        ({"stock": "many"}, "is a sum"),
        ({"stock": None}, "not taken away"),
        ({"stock": {"add": -11}}, "stock is 10 as far as is known here, and would be -1; allowed: at least 0"),
    ],
)
def test_what_a_rule_cannot_merge_nobody_writes(edit: dict[str, object], said: str) -> None:
    """It is refused where it is written, with the rule and what it takes."""
    replicas = Replicas()
    replicas.put("cloud", {"progress": 5, "stock": 10})
    refused = replicas.edit("cloud", "merge", edit)
    assert isinstance(refused, EditRefused)
    assert said in refused.reason


def test_an_expression_is_given_both_in_the_order_of_their_dots() -> None:
    """Whatever was heard first; where it has no value the latest stands, and the reason says so."""

    def longest(expression: str, mine: object, theirs: object) -> bytes:
        if expression != "longer":
            raise ValueError("no such expression")
        return b'"%s"' % max(str(mine), str(theirs), key=len).encode()

    siblings = [Sibling(Dot("harbour", 1), b'"long"', 5), Sibling(Dot("airport", 1), b'"short"', 4)]
    for order in (siblings, siblings[::-1]):
        outcome = judge(read_rule("cel,longer"), order, longest)
        assert (outcome.value, outcome.stands, outcome.losers) == (b'"short"', Dot("airport", 1), (Dot("harbour", 1),))
        fallen = judge(read_rule("cel,broken"), order, longest)
        assert (fallen.value, fallen.losers) == (b'"long"', (Dot("airport", 1),))
        assert "no such expression" in fallen.reason


def test_a_quarantined_write_keeps_its_place_and_loses_against_any_stamp() -> None:
    """It is shown while nothing else is there, stands beside an earlier one, and comes back when a person restores it."""
    replicas = Replicas()
    replicas.put("cloud", {"note": 0})
    replicas.heal()
    wild = replicas.put("harbour", {"note": 1}, 900_000)
    replicas.tell("harbour", "cloud")
    replicas.quarantine(wild.dot)
    assert replicas.value("cloud") == {"note": 1}
    early = replicas.put("airport", {"note": 2}, 2_000)
    replicas.heal()
    assert {str(replicas.value(node)) for node in replicas.books} == {"{'note': 2}"}
    (conflict,) = conflicts_of(DOCUMENT, replicas.at("cloud"), early.dot, 7_000, None)
    assert "too far ahead" in conflict.reason
    assert "90,000 ms ahead" in conflict.loses.what
    operation, value = restoring(conflict)
    assert (operation, value) == ("merge", b'{"note":1}')
    replicas.put("cloud", {"note": 1}, 1_000)
    replicas.heal()
    assert {str(replicas.value(node)) for node in replicas.books} == {"{'note': 1}"}


def test_an_edit_of_somebody_who_did_not_know_survives_the_end_of_the_document() -> None:
    """The document is there with what was edited, and that it was to be deleted is on record."""
    replicas = Replicas()
    replicas.put("cloud", {"note": 0, "old": 1})
    replicas.heal()
    replicas.edit("cloud", "delete")
    edited = replicas.put("harbour", {"note": 1}, 2_000)
    replicas.heal()
    assert replicas.value("cloud") == {"note": 1}
    deletion = next(each for each in conflicts_of(DOCUMENT, replicas.at("cloud"), edited.dot, 7_000, None) if not each.field)
    assert restoring(deletion) == ("delete", b"")
    replicas.edit("cloud", *restoring(deletion)[:1])
    replicas.heal()
    assert {replicas.value(node) for node in replicas.books} == {None}


@pytest.mark.parametrize(
    "text", ["first", "safety", "safety,a", "safety,a,a", "cel", "sum,up=3", "sum,min=x", "sum,min=3,max=1", "lww,x"]
)
def test_what_is_no_rule_says_what_is_allowed(text: str) -> None:
    """A rule is read when the document begins, or it does not."""
    with pytest.raises(ValueError, match=r"allowed|safety|cel|sum|nothing more"):
        read_rule(text)


def test_all_rules_judge_any_values() -> None:
    """Whatever a writer has let through, one stands or both do, and the order makes no difference."""
    values = [b"", b"1", b'"completed"', b"[1]", b'{"physical":true}', b"null", b"2.5"]
    siblings = [Sibling(Dot(f"n{number}", 1), value, number) for number, value in enumerate(values)]
    for text in (SAFETY if kind == "safety" else "cel,x" if kind == "cel" else kind for kind in KINDS):
        rule = read_rule(text)
        assert judge(rule, siblings) == judge(rule, siblings[::-1])
    assert judge(LWW, siblings).value == b"2.5"
