"""Nodes that come and go, one at a time: then any two majorities before and after share a node (Ongaro's thesis, section 4.1)."""

import msgspec

from coordination.raft.values import Change, Entry, Voters

WHAT = ("add", "learn", "remove")


def encode_change(change: Change) -> bytes:
    """As an entry keeps it."""
    return msgspec.msgpack.encode(change)


def decode_change(entry: Entry) -> Change:
    """What the entry says."""
    return msgspec.msgpack.decode(entry.data, type=Change)


def changed(group: Voters, change: Change) -> Voters:
    """The group after the change. Doing the same again changes nothing."""
    voters = {voter for voter in group.voters if voter != change.node}
    learners = {learner for learner in group.learners if learner != change.node}
    if change.what == "add":
        voters.add(change.node)
    elif change.what == "learn":
        learners.add(change.node)
    return Voters(tuple(sorted(voters)), tuple(sorted(learners)))


def problem_with(group: Voters, change: Change) -> str:
    """Why the change cannot be; empty if it can."""
    if change.what not in WHAT:
        return f"a change is one of {', '.join(WHAT)}, not {change.what!r}"
    if not change.node:
        return "a change names a node"
    if not changed(group, change).voters:
        return f"without {change.node} nobody could decide: a group keeps one voter at least"
    return ""
