"""The read lease between a site and the cloud: whoever reads under it is never further behind than its bound."""

from hypothesis import given
from hypothesis import strategies as st

from cloud.documents.leases import TTL_MS_MAX, Leases
from edge.reading.lease import TTL_S, Lease

DOCUMENT, BOUND = "shared/few", 2
steps = st.lists(
    st.tuples(st.sampled_from(["write", "ship", "ask", "arrive", "answer", "read", "lose"]), st.floats(0, 4)), max_size=60
)


@given(steps, st.floats(0.996, 1.004))
def test_no_read_under_a_lease_is_further_behind_than_its_bound(story: list[tuple[str, float]], rate: float) -> None:
    """Whatever is late or lost, in whatever order, with clocks that differ by less than leases reckon with."""
    lease, leases = Lease(), Leases()
    now_s, there, here = 0.0, 0, 0
    asked: list[tuple[int, int]] = []
    answers: list[tuple[int, int]] = []
    for what, passed_s in story:
        now_s += passed_s
        cloud_ms = int(now_s * rate * 1000)
        if what == "write" and not leases.bars(DOCUMENT, there + 1, BOUND, cloud_ms):
            there += 1
        elif what == "ship":
            here = min(there, here + 1)
        elif what == "ask":
            asked.append((lease.ask({DOCUMENT: here}, now_s), here))
        elif what == "arrive" and asked:
            number, held = asked.pop(0)
            leases.take("harbour", int(TTL_S * 1000), {DOCUMENT: held}, cloud_ms)
            answers.append((number, there))
        elif what == "answer" and answers:
            number, version = answers.pop(0)
            lease.granted(number, {DOCUMENT: version})
        elif what == "lose":
            del asked[:1], answers[:1]
        elif what == "read" and lease.covers(DOCUMENT, here, BOUND, now_s):
            assert there - here <= BOUND


def test_after_a_restart_the_cloud_waits_for_the_longest_lease() -> None:
    """It does not know what it had promised."""
    leases = Leases(blind_until_ms=TTL_MS_MAX)
    assert leases.bars(DOCUMENT, 1, BOUND, TTL_MS_MAX - 1)
    assert not leases.bars(DOCUMENT, 1, BOUND, TTL_MS_MAX)
