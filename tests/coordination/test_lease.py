"""Leases against a naive twin, and the promise that counts: behind a fence no older epoch acts any more."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.lease import DRIFT, FencedResource, Lease, LeaseTable, StaleEpoch
from sync.values import Epoch, Now

TTL_MS = 1_000
resources = st.sampled_from(["crane", "dock", "lift"])
holders = st.sampled_from(["anna", "ben"])
steps = st.tuples(
    st.sampled_from(["grant", "renew", "renew_old", "release", "pass", "pass", "expire", "restart"]),
    resources,
    holders,
    st.integers(0, 1_500),
)


def at(mono_ms: int) -> Now:
    return Now(1_800_000_000_000 + mono_ms, mono_ms, 1)


@dataclass
class Twin:
    """Leases as a dictionary that is looked through each time."""

    held: dict[str, tuple[str, int, int]] = field(default_factory=dict)  # resource -> holder, epoch, counted from
    epoch: int = 0

    def over(self, mono_ms: int) -> list[str]:
        return sorted(name for name, (_, _, since_ms) in self.held.items() if since_ms + 1_010 < mono_ms)


@given(st.lists(steps, max_size=60))
def test_the_table_agrees_with_a_naive_twin(happenings: list[tuple[str, str, str, int]]) -> None:
    """Grants, renewals, releases, expiries and restarts in any order: the same holders, and epochs that only grow."""
    table, twin, now_ms = LeaseTable(TTL_MS), Twin(), 5
    for what, resource, holder, number in happenings:
        held = twin.held.get(resource)
        match what:
            case "grant":
                lease = table.grant(resource, holder, at(now_ms))
                assert lease.epoch == twin.epoch + 1
                twin.epoch = lease.epoch
                twin.held[resource] = (holder, lease.epoch, now_ms)
            case "renew" if held is not None:
                table.renew(resource, held[1], at(now_ms))
                twin.held[resource] = (held[0], held[1], now_ms)
            case "renew_old":
                with pytest.raises(StaleEpoch, match=f"{resource}: epoch"):
                    table.renew(resource, (held[1] if held else twin.epoch + 1) - 1, at(now_ms))
            case "release":
                assert not table.release(resource, 0)
                assert table.release(resource, held[1] if held else 1) is (held is not None)
                twin.held.pop(resource, None)
            case "pass":
                now_ms += number
            case "expire":
                assert [lease.resource for lease in table.expire(at(now_ms))] == twin.over(now_ms)
                twin.held = {name: entry for name, entry in twin.held.items() if name not in twin.over(now_ms)}
            case "restart":
                table, epoch = LeaseTable(TTL_MS), table.epochs.highest
                table.epochs.note(epoch)
                twin.held.clear()
        check(table, twin)


def check(table: LeaseTable, twin: Twin) -> None:
    for name in ("crane", "dock", "lift"):
        lease, entry = table.get(name), twin.held.get(name)
        assert (lease and (lease.holder, lease.epoch, lease.granted_mono_ms)) == entry
    assert table.epochs.highest == twin.epoch
    first_ms = min((since_ms + 1_011 for _, _, since_ms in twin.held.values()), default=None)
    if first_ms is not None:
        next_ms = table.next_end_ms()
        assert next_ms is not None, "nobody would wake up for the lease that ends"
        assert next_ms <= first_ms, "the wake-up would come after the lease's end"


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.floats(-DRIFT, DRIFT))
def test_a_holder_that_stops_in_time_never_overlaps_the_next(ttl_ms: int, granted_ms: int, drift: float) -> None:
    """With clocks that drift apart by no more than DRIFT, the holder's ttl is over before the granter frees the resource."""
    lease = LeaseTable(ttl_ms).grant("crane", "anna", at(granted_ms))
    holder_stops_at = granted_ms + ttl_ms * (1 + drift)  # On the granter's clock; sent before it was granted, so at the latest.
    assert holder_stops_at <= lease.freed_at_ms()


@given(st.lists(st.integers(0, 20)))
def test_behind_a_fence_epochs_never_go_down(epochs: list[int]) -> None:
    """What is admitted is a sequence that never falls; whatever is refused names the epoch that holds."""
    resource, admitted = FencedResource("crane"), list[int]()
    for epoch in epochs:
        if epoch >= max(admitted, default=0):
            resource.admit(epoch)
            admitted.append(epoch)
        else:
            with pytest.raises(StaleEpoch, match=f"epoch {epoch} is over, {max(admitted)} holds: register again") as refused:
                resource.admit(epoch)
            assert (refused.value.resource, refused.value.epoch, refused.value.highest) == ("crane", epoch, max(admitted))
    assert admitted == sorted(admitted)


def test_a_paused_holder_is_fenced_off_by_the_next() -> None:
    """Kleppmann's story: a holder sleeps past its lease, another takes over, and the sleeper's write is refused."""
    table, storage = LeaseTable(TTL_MS), FencedResource("storage")
    sleeper = table.grant("storage", "anna", at(0))
    storage.admit(sleeper.epoch)
    assert table.expire(at(sleeper.freed_at_ms())) == [sleeper]
    storage.admit(table.grant("storage", "ben", at(3_000)).epoch)
    with pytest.raises(StaleEpoch):
        storage.admit(sleeper.epoch)


def test_a_lease_knows_when_it_is_freed() -> None:
    """The granter waits for the ttl, the drift on top, and one millisecond more."""
    assert Lease("crane", "anna", table_epoch(), 1_000, 50).freed_at_ms() == 1_061


def table_epoch() -> Epoch:
    return LeaseTable(1).grant("crane", "anna", at(0)).epoch
