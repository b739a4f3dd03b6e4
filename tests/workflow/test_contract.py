"""Contracts of runs: read, checked, carried."""

import msgspec
import pytest

from sync.levels import Level
from sync.values import RunId
from workflow.contract import DEFAULT, HOLD, Autonomy, Contract, ContractRefused, contract_of, inherited
from workflow.events import FragmentAdopted, RunCreated, decode, encode
from workflow.fragment import Fragment
from workflow.plan import Plan, plan_from_document, read_plan
from workflow.problems import DefinitionError
from workflow.saved import load_saved

STRONG = Contract(Level("strong"), HOLD)


def plan_of(**said: object) -> Plan:
    return read_plan({"name": "a", "version": "1", "tasks": {"x": {"capability": "c"}}, **said})[1]


def contract(**said: object) -> Contract | None:
    return plan_of(**said).contract


def refusal(**said: object) -> str:
    with pytest.raises(DefinitionError) as caught:
        contract(**said)
    return str(caught.value)


def test_a_definition_that_says_nothing_has_the_default_and_carries_nothing() -> None:
    """Plain runs pay for no contract."""
    assert contract() is None
    assert contract(consistency="eventual", autonomy="finish_released") is None


def test_words_and_mappings_are_read() -> None:
    """The short form is the long one with its first field."""
    assert contract(consistency="strong") == STRONG
    assert contract(consistency={"level": "strong", "when_cut": "fail"}) == Contract(Level("strong", when_cut="fail"), HOLD)
    bounded = {"level": "bounded", "versions": 5, "time": "2s"}
    assert contract(consistency=bounded) == Contract(Level("bounded", 5, 2_000), Autonomy())
    given = {"when_cut": "continue", "horizon": "1h", "budget": 4, "then": "compensate"}
    assert contract(autonomy=given) == Contract(autonomy=Autonomy("continue", 3_600_000, 4, "compensate"))


def test_what_does_not_go_together_is_refused_with_what_is_allowed() -> None:
    """At the border, by its place."""
    assert "allowed: hold, compensate" in refusal(consistency="strong", autonomy="continue")
    assert "allowed: versions, time, or both" in refusal(consistency="bounded")
    assert "nothing to do with versions" in refusal(consistency={"level": "eventual", "versions": 5})
    assert "strong, bounded or eventual" in refusal(consistency="sometimes")
    assert "when_cut, horizon, budget, then" in refusal(autonomy={"when": "hold"})


def test_the_document_of_a_definition_reads_as_the_same_contract() -> None:
    """A site compiles what the cloud registered."""
    for said in ({"consistency": "strong"}, {"autonomy": {"when_cut": "hold", "budget": 3}}, {"autonomy": "finish_released"}):
        plan = plan_of(**said)
        again = plan_from_document(plan.document)
        assert (again.contract, again.says_contract) == (plan.contract, True)


def test_a_child_has_the_whole_contract_of_its_parent_unless_its_definition_names_one() -> None:
    """Halves of both would be a promise that nobody made."""
    assert inherited(None, STRONG, says_itself=False) == STRONG
    assert inherited(None, STRONG, says_itself=True) is None
    assert inherited(STRONG, None, says_itself=True) == STRONG


def test_strong_is_hold_unless_it_is_said_to_compensate() -> None:
    """The default autonomy of all others would begin what cannot count."""
    assert contract_of(Level("strong"), None) == STRONG
    assert contract_of(None, None) is None
    assert contract_of(DEFAULT.level, DEFAULT.autonomy) is None
    with pytest.raises(ContractRefused, match="finish_released"):
        contract_of(Level("strong"), Autonomy())


def test_a_fragment_keeps_its_contract_in_its_bytes_and_older_bytes_have_none() -> None:
    """A restart and a replica have what the home was told."""
    plan = plan_of()
    adopted = FragmentAdopted("a@1", b"{}", "harbour", ["harbour"], b"\0", 2, contract=STRONG)
    told = decode("FragmentAdopted", encode(adopted))
    fragment = Fragment.adopt(RunId("r1"), plan, told)  # type: ignore[arg-type]
    again = Fragment.restore(RunId("r1"), plan, load_saved(fragment.save()))
    assert again.contract == STRONG
    created = decode("RunCreated", msgspec.msgpack.encode(["a@1", b"{}", {}, 1, 4, "", "", 0, None]))
    assert isinstance(created, RunCreated)
    assert created.contract is None
