"""`tiercel run coordination set --file`: what is read from a file."""

import pytest
import typer

from tiercel.cli.run_coordination import coordination_in

BLOCK = {"protocol": "hierarchical", "levels": [{"level": "site", "protocol": "direct", "budget": 3}]}


@pytest.mark.parametrize(
    "text",
    [
        "coordination: {protocol: hierarchical, levels: [{level: site, protocol: direct, budget: 3}]}",
        "protocol: hierarchical\nlevels:\n  - {level: site, protocol: direct, budget: 3}\n",
        '{"protocol": "hierarchical", "levels": [{"level": "site", "protocol": "direct", "budget": 3}]}',
    ],
)
def test_a_block_is_read_with_or_without_its_name(text: str) -> None:
    """A file may look like the part of a definition, or be the mapping itself; JSON is YAML."""
    assert coordination_in(text, "f") == BLOCK


def test_a_word_is_enough() -> None:
    """As in a definition."""
    assert coordination_in("coordination: auction", "f") == "auction"


@pytest.mark.parametrize(
    ("text", "said"),
    [("levels: [", "neither YAML nor JSON"), ("- a", "holds list"), ("{}", "an empty mapping"), ("levels: []", "holds levels")],
)
def test_what_names_no_protocol_is_refused(text: str, said: str) -> None:
    """The message names the file, what it holds and what is allowed."""
    with pytest.raises(typer.BadParameter, match=said) as refused:
        coordination_in(text, "levels.yaml")
    assert "levels.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{protocol: auction, price_max: .nan}", "price_max: nan is no JSON"),
        ("{protocol: hierarchical, levels: [{level: site, budget: {cost: .inf}}]}", r"levels\[0\].budget.cost: inf is no JSON"),
    ],
)
def test_what_json_cannot_say_is_refused_by_name(text: str, said: str) -> None:
    """Before it is sent: YAML has numbers that the API has not."""
    with pytest.raises(typer.BadParameter, match=said):
        coordination_in(text, "levels.yaml")
