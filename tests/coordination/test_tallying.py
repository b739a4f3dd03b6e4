"""What votes amount to, against a twin that counts as a person would, and against all futures that there can be."""

from fractions import Fraction
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.tallying import Decision, Rule, Terms, Tie, judge, settled

NAMES = ("anna", "ben", "cleo", "dan", "eve")


@st.composite
def terms(draw: st.DrawFn, voters_max: int = 5) -> Terms:
    """Any terms that can be voted on."""
    names = NAMES[: draw(st.integers(1, voters_max))]
    options = draw(st.sampled_from([("yes", "no"), ("a", "b", "c"), ("no", "yes"), ("a", "b", "no"), ("a",)]))
    tie = draw(st.sampled_from(Tie))
    return Terms(
        options=options,
        weights={name: draw(st.integers(1, 4)) for name in names},
        rule=draw(st.sampled_from(Rule)),
        quorum=draw(st.integers(0, len(names))),
        tie=tie,
        chair=draw(st.sampled_from(names)),
        vetoes=tuple(draw(st.lists(st.sampled_from(names), unique=True, min_size=1))),
    )


def counted(terms: Terms, votes: dict[str, str]) -> str:
    """The twin: shares as fractions, option by option, by the sentences of the documentation."""
    voices = {name: terms.weights[name] if terms.rule is Rule.WEIGHTED else 1 for name in votes}
    cast = sum(voices[name] for name, option in votes.items() if option)
    if len(votes) < terms.quorum or not cast:
        return ""
    shares = {o: Fraction(sum(voices[n] for n, vote in votes.items() if vote == o), cast) for o in terms.options}
    best = max(shares.values())
    first = [option for option in terms.options if shares[option] == best]
    wins = {
        Rule.MAJORITY: best > Fraction(1, 2),
        Rule.WEIGHTED: best > Fraction(1, 2),
        Rule.VETO: best > Fraction(1, 2),
        Rule.PLURALITY: len(first) == 1,
        Rule.TWO_THIRDS: best >= Fraction(2, 3),
        Rule.UNANIMOUS: best == 1,
    }[terms.rule]
    is_tie = terms.rule is Rule.PLURALITY or (terms.rule in (Rule.MAJORITY, Rule.WEIGHTED, Rule.VETO) and best == Fraction(1, 2))
    if wins or (is_tie and terms.tie is Tie.LOWEST):
        found = first[0]
    elif is_tie and terms.tie is Tie.ACCEPT:
        found = ([option for option in first if option != "no"] or [""])[0]
    elif is_tie and terms.tie is Tie.CHAIR and votes.get(terms.chair, "") in first:
        found = votes[terms.chair]
    else:
        found = ""
    vetoed = terms.rule is Rule.VETO and any(votes.get(name) not in (None, "", found) for name in terms.vetoes)
    return "" if found == "no" or vetoed else found


@given(terms(), st.data())
def test_a_decision_is_the_one_that_a_person_counts(terms: Terms, data: st.DataObject) -> None:
    """All rules, ties, weights, vetoes, quorums and abstentions: the same option as a twin that counts with fractions."""
    votes = {name: data.draw(st.sampled_from((*terms.options, ""))) for name in terms.weights if data.draw(st.booleans())}
    decision = judge(terms, votes)
    assert decision.option == counted(terms, votes)
    assert decision.reason


@settings(max_examples=400)
@given(terms(voters_max=4), st.data())
def test_a_decision_is_settled_exactly_when_all_futures_agree(terms: Terms, data: st.DataObject) -> None:
    """Every way in which those who are missing could vote, abstain or keep silent is tried: settled means that all give one
    result, and not settled that two of them differ."""
    votes = {name: data.draw(st.sampled_from((*terms.options, ""))) for name in terms.weights if data.draw(st.booleans())}
    missing = [name for name in terms.weights if name not in votes]
    futures = product((*terms.options, "", None), repeat=len(missing))
    ends = {judge(terms, votes | _cast(zip(missing, future, strict=True))).option for future in futures}
    decision = settled(terms, votes, missing)
    assert (decision is not None) is (len(ends) == 1)
    assert decision is None or {decision.option} == ends


def _cast(said: "zip[tuple[str, str | None]]") -> dict[str, str]:
    return {name: option for name, option in said if option is not None}


def test_terms_say_what_is_wrong_with_them() -> None:
    """Each mistake is named with who or what is meant."""
    bad = Terms(options=("a", "a"), weights={"anna": 0}, quorum=2, tie=Tie.CHAIR, chair="ben", rule=Rule.VETO, vetoes=("cleo",))
    found = "; ".join(bad.problems())
    assert all(word in found for word in ("different", "anna", "quorum of 2", "chair 'ben'", "cleo"))
    assert Terms(options=("yes", "no"), weights={"anna": 1}).problems() == []


def test_who_breaks_a_tie_is_said() -> None:
    """Two against two: rejected, accepted, the first, or as the chair voted."""
    votes = {"anna": "b", "ben": "b", "cleo": "a", "dan": "a"}
    weights = dict.fromkeys(votes, 1)
    found = {tie: judge(Terms(options=("a", "b"), weights=weights, tie=tie, chair="ben"), votes) for tie in Tie}
    assert found == {
        Tie.REJECT: Decision("", "tie"),
        Tie.ACCEPT: Decision("a", "tie_broken"),
        Tie.LOWEST: Decision("a", "tie_broken"),
        Tie.CHAIR: Decision("b", "tie_broken"),
    }
