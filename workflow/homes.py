"""Who decides: a run, or a part of one, has one home at a time, and every home has an epoch.

An epoch is given out once, by the cloud, and grows with each new home. What the home of the latest epoch writes is adopted. Of
what an earlier home writes after that, *facts* are adopted (an attempt ran, and this came of it: the world is as it is, whoever
asked for it), and *decisions* are refused, for the present home has decided since (Kleppmann, Designing Data-Intensive
Applications, fencing tokens).
"""

from typing import Literal

BORN_EPOCH = 1
"""Of a run that was accepted, and of one that a site began by itself."""

RELEASED_EPOCH = 2
"""Of the first site that the cloud gives a run to."""

Verdict = Literal["adopt", "refuse"]


def verdict(event_epoch: int, home_epoch: int, *, is_fact: bool) -> Verdict:
    """What becomes of an event that was written under `event_epoch` while `home_epoch` is the latest that is known here."""
    return "adopt" if is_fact or event_epoch >= home_epoch else "refuse"


def following(epoch: int) -> int:
    """The epoch of the next home. Above that of every first home, so it is told from them by itself."""
    return max(epoch, RELEASED_EPOCH) + 1


_ATTEMPT_BITS = 20


def attempt_epoch(home_epoch: int, attempt: int) -> int:
    """The fencing token of an attempt: grows with every attempt, and with every new home of the run."""
    return (home_epoch << _ATTEMPT_BITS) | attempt


def attempt_of(token: int) -> int:
    """The number of the attempt of this token."""
    return token & ((1 << _ATTEMPT_BITS) - 1)


def home_of(token: int) -> int:
    """The epoch of the home that ordered the attempt of this token."""
    return token >> _ATTEMPT_BITS
