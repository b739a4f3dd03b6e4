"""Sums inside a bound that several nodes add to while they cannot ask each other: each spends from its own share of what is left.

Escrow as in O'Neil, "The Escrow Transactional Method", 1986, and the bounded counter of Balegas et al., 2015: what may still be
added and what may still be taken away are shares that lie with nodes, at first all with the cloud. Adding spends a share of the
one and makes one of the other. Each node alone writes its own account, in which every number only grows, and knows of all that
was lent to it no more than there is: so all shares together are never more than what lies between the sum and its bound, whatever
was not heard of yet.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from sync.documents.ids import CLOUD
from sync.merging.dots import Dot
from sync.merging.rules import Rule


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node has added and taken away in all, and to whom it has lent shares of either."""

    up: int = 0
    down: int = 0
    lent_up: dict[str, int] = {}
    lent_down: dict[str, int] = {}

    def write(self) -> bytes:
        """As a value of its part of the field."""
        return msgspec.json.encode(self, order="sorted")


class Share(NamedTuple):
    """What a node may still add and take away by itself; None: as much as it likes."""

    up: int | None
    down: int | None

    def allows(self, delta: int) -> bool:
        """Is it enough?"""
        side = self.up if delta > 0 else self.down
        return side is None or abs(delta) <= side


Accounts = Mapping[str, Account]
_ACCOUNT = msgspec.json.Decoder(Account)


def accounts_of(parts: Mapping[str, Mapping[Dot, bytes]]) -> dict[str, Account]:
    """The accounts in a field. Two versions of one, by a node that came back on an old copy, are the larger of each number."""
    return {node: _larger(_own_versions(node, kept)) for node, kept in sorted(parts.items())}


def _own_versions(node: str, kept: Mapping[Dot, bytes]) -> Iterator[Account]:
    """Nobody writes another's account, and nothing in one is less than nothing."""
    for dot, value in kept.items():
        try:
            account = _ACCOUNT.decode(value)
        except msgspec.MsgspecError:
            continue
        numbers = account.up, account.down, *account.lent_up.values(), *account.lent_down.values()
        if dot.writer == node and min(numbers) >= 0:
            yield account


def joined(one: Accounts, other: Accounts) -> dict[str, Account]:
    """What is known of all accounts by two together."""
    both = sorted({*one, *other})
    return {node: _larger(each[node] for each in (one, other) if node in each) for node in both}


def _larger(versions: Iterable[Account]) -> Account:
    result = Account()
    for each in versions:
        up, down = max(result.up, each.up), max(result.down, each.down)
        result = Account(up, down, _most(result.lent_up, each.lent_up), _most(result.lent_down, each.lent_down))
    return result


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {node: max(one.get(node, 0), other.get(node, 0)) for node in sorted({*one, *other})}


def total(rule: Rule, accounts: Accounts) -> int:
    """The sum, as far as it is known here."""
    return rule.start + sum(each.up - each.down for each in accounts.values())


def share_of(rule: Rule, accounts: Accounts, node: str) -> Share:
    """What the node may still do by itself, as far as is known here: of itself it knows all, and no lent share too much."""
    own = accounts.get(node, Account())
    up, down = own.down - own.up, own.up - own.down
    up += sum(each.lent_up.get(node, 0) for each in accounts.values()) - sum(own.lent_up.values())
    down += sum(each.lent_down.get(node, 0) for each in accounts.values()) - sum(own.lent_down.values())
    if node == CLOUD:
        up += rule.most - rule.start if rule.most is not None else 0
        down += rule.start - rule.least if rule.least is not None else 0
    return Share(None if rule.most is None else up, None if rule.least is None else down)


def spent(accounts: Accounts, node: str, delta: int) -> Account:
    """The node's account once it has added `delta`."""
    own = accounts.get(node, Account())
    return Account(own.up + max(delta, 0), own.down + max(-delta, 0), own.lent_up, own.lent_down)


def lent(accounts: Accounts, node: str, to: str, share: Share) -> Account:
    """The node's account once it has lent so much more; what is None is not lent."""
    own = accounts.get(node, Account())
    return Account(own.up, own.down, _more(own.lent_up, to, share.up), _more(own.lent_down, to, share.down))


def _more(lent_so_far: Mapping[str, int], to: str, amount: int | None) -> dict[str, int]:
    if not amount:
        return dict(lent_so_far)
    return dict(sorted({**lent_so_far, to: lent_so_far.get(to, 0) + amount}.items()))
