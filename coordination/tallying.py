"""What votes amount to: the rules by which a ballot among agents is decided, as functions of the votes alone.

A decision is one option, or none: the proposal is rejected. So a result can be told from any set of votes, and whether it can
still change from two kinds of futures alone: for an option nothing is better than that all who are left vote for it, and nothing
is worse than that they all vote for one other option, or not at all. `settled` relies on that; its test tries all futures.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

NO = "no"
WEIGHT_MAX = 1_000_000_000


class Rule(StrEnum):
    """How many votes decide. Abstentions count for the quorum and on no side.

    Of the votes that were cast, once the quorum has: MAJORITY: more than half; PLURALITY: more than any other option has;
    TWO_THIRDS: two thirds or more; UNANIMOUS: all; WEIGHTED: more than half of their weight; VETO: a majority which nobody with a
    veto has voted against.
    """

    MAJORITY = "majority"
    PLURALITY = "plurality"
    TWO_THIRDS = "two_thirds"
    UNANIMOUS = "unanimous"
    WEIGHTED = "weighted"
    VETO = "veto"


def usual_quorum(rule: Rule, voters: int) -> int:
    """How many must vote or abstain where nobody said it: more than half of the voters, of UNANIMOUS all. So nobody who is not
    there is taken to agree."""
    return voters if rule is Rule.UNANIMOUS else voters // 2 + 1


class Tie(StrEnum):
    """What decides when half of the votes stand against the other half (PLURALITY: when several options have the most).

    REJECT: nothing; ACCEPT: the first of the options with the most that is not `no`; LOWEST: the first of them; CHAIR: the one
    that the chair voted for, if it is among them.
    """

    REJECT = "reject"
    ACCEPT = "accept"
    LOWEST = "lowest"
    CHAIR = "chair"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What is voted on, by whom, and what decides: all that a result depends on besides the votes.

    `weights` says who may vote, and with how much (1 to WEIGHT_MAX; only WEIGHTED looks at it). `quorum` is how many must vote or
    abstain. `no` is the option that means rejection, if it is among the options.
    """

    options: tuple[str, ...]
    weights: dict[str, int]
    rule: Rule = Rule.MAJORITY
    quorum: int = 1
    tie: Tie = Tie.REJECT
    chair: str = ""
    vetoes: tuple[str, ...] = ()
    no: str = NO

    def problems(self) -> list[str]:
        """What is wrong with them; nothing if they can be voted on."""
        wrong = []
        if not self.options or len(set(self.options)) != len(self.options) or "" in self.options:
            wrong.append(f"the options {list(self.options)} are empty, or not different from each other")
        if not self.weights:
            wrong.append("nobody may vote")
        if bad := sorted(agent for agent, weight in self.weights.items() if not 1 <= weight <= WEIGHT_MAX):
            wrong.append(f"the weights of {', '.join(bad)} are not between 1 and {WEIGHT_MAX:,}")
        if not 0 <= self.quorum <= len(self.weights):
            wrong.append(f"the quorum of {self.quorum} is more than the {len(self.weights)} who may vote")
        if self.tie is Tie.CHAIR and self.chair not in self.weights:
            wrong.append(f"the chair {self.chair!r} may not vote")
        if self.rule is Rule.VETO and (not self.vetoes or not set(self.vetoes) <= set(self.weights)):
            wrong.append(f"of those who may veto ({', '.join(self.vetoes) or 'nobody'}) not all may vote")
        return wrong


class Decision(NamedTuple):
    """The option that won, empty if the proposal is rejected; and why: decided, tie_broken, rejected (most want `no`), no_quorum,
    no_votes, tie, vetoed, not_enough (no option has as many votes as the rule asks for)."""

    option: str
    reason: str


Votes = dict[str, str]
"""By agent the option that it voted for; empty: it abstains."""


def judge(terms: Terms, votes: Votes) -> Decision:
    """The decision, if nobody else votes."""
    if len(votes) < terms.quorum:
        return Decision("", "no_quorum")
    tally = tally_of(terms, votes)
    cast, most = sum(tally.values()), max(tally.values(), default=0)
    if not cast:
        return Decision("", "no_votes")
    leading = [option for option in terms.options if tally[option] == most]
    if _is_enough(terms.rule, most, cast) and len(leading) == 1:
        option, reason = leading[0], "decided"
    elif terms.rule is Rule.PLURALITY or (terms.rule not in (Rule.TWO_THIRDS, Rule.UNANIMOUS) and most * 2 == cast):
        option, reason = _broken(terms, votes, leading), "tie_broken"
        if not option:
            return Decision("", "tie")
    else:
        return Decision("", "not_enough")
    if option == terms.no:
        return Decision("", "rejected")
    if terms.rule is Rule.VETO and any(votes.get(agent, option) not in ("", option) for agent in terms.vetoes):
        return Decision("", "vetoed")
    return Decision(option, reason)


def settled(terms: Terms, votes: Votes, missing: list[str]) -> Decision | None:
    """The decision, if those who are missing cannot change it any more, however they vote; None if they can."""
    now = judge(terms, votes)
    if not missing:
        return now
    if not now.option:
        could_win = any(judge(terms, _with(votes, missing, option)).option == option for option in terms.options)
        return None if could_win else judge(terms, _with(votes, missing, "")) if now.reason == "no_quorum" else now
    others = ("", *(option for option in terms.options if option != now.option))
    could_lose = any(judge(terms, _with(votes, missing, other)).option != now.option for other in others)
    return None if could_lose else now


def tally_of(terms: Terms, votes: Votes) -> dict[str, int]:
    """What each option has: voters, or their weight where the rule weighs them."""
    tally = dict.fromkeys(terms.options, 0)
    for agent, option in votes.items():
        if option:
            tally[option] += terms.weights[agent] if terms.rule is Rule.WEIGHTED else 1
    return tally


def _is_enough(rule: Rule, most: int, cast: int) -> bool:
    match rule:
        case Rule.PLURALITY:
            return True
        case Rule.TWO_THIRDS:
            return most * 3 >= cast * 2
        case Rule.UNANIMOUS:
            return most == cast
        case _:
            return most * 2 > cast


def _broken(terms: Terms, votes: Votes, leading: list[str]) -> str:
    match terms.tie:
        case Tie.ACCEPT:
            return next((option for option in leading if option != terms.no), "")
        case Tie.LOWEST:
            return leading[0]
        case Tie.CHAIR:
            chosen = votes.get(terms.chair, "")
            return chosen if chosen in leading else ""
        case _:
            return ""


def _with(votes: Votes, missing: list[str], option: str) -> Votes:
    return {**votes, **dict.fromkeys(missing, option)}
