"""Mandates never give more than they have, and a descent tries each way once."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from coordination.hierarchy import TOP, Delegation, Descent, Escalated, Level, Loss, Mandate, Refusal, Wanted

LEVELS = (Level("site", "direct"), Level("group", "leader"))
costs = st.floats(0, 10, allow_nan=False)


@given(
    st.lists(st.tuples(st.sampled_from(["want", "want", "cut", "heard", "anew", "old", "pass"]), costs), max_size=60),
    st.integers(0, 5),
    st.sampled_from([inf, 0.0, 12.5]),
    st.sampled_from(Loss),
)
def test_a_mandate_never_gives_more_than_it_has(
    happenings: list[tuple[str, float]], tasks_max: int, cost_max: float, on_loss: Loss
) -> None:
    """Whatever is wanted, cut, told anew or told late: per epoch the budget holds, nothing goes after expiry, nothing new while
    held."""
    given = Delegation(
        level="group", to="cranes", epoch=1, tasks_max=tasks_max, cost_max=cost_max, expires_ms=100, on_loss=on_loss
    )
    mandate, now_ms, spent, number, cut_since = Mandate(given), 0, [(0, 0.0)], 0, set[str]()
    for what, cost in happenings:
        match what:
            case "want":
                number += 1
                wanted = Wanted(f"run-{number % 3}", f"task-{number}", "lift", cost)
                if mandate.refusal(wanted, now_ms) is None:
                    mandate.spend(wanted)
                    spent[-1] = (spent[-1][0] + 1, spent[-1][1] + cost)
                    assert now_ms < mandate.given.expires_ms
                    assert not (mandate.is_cut and on_loss is Loss.HOLD)
                    assert not (mandate.is_cut and on_loss is Loss.FINISH and wanted.run not in cut_since)
            case "cut":
                mandate.is_cut, cut_since = True, set(mandate.runs)
            case "heard":
                mandate.is_cut = False
            case "anew":
                told = mandate.given
                later = Delegation(
                    level="group",
                    to="cranes",
                    epoch=told.epoch + 1,
                    tasks_max=tasks_max,
                    cost_max=cost_max,
                    expires_ms=now_ms + 100,
                )
                assert mandate.replace(later) is None
                on_loss, cut_since = Loss.CONTINUE, set()
                spent.append((0, 0.0))
            case "old":
                before = mandate.given
                refused = mandate.replace(Delegation(level="group", to="cranes", epoch=before.epoch - 1))
                assert isinstance(refused, Refusal)
                assert mandate.given == before
            case _:
                now_ms += int(cost * 5)
    assert all((not tasks_max or tasks <= tasks_max) and cost <= cost_max for tasks, cost in spent)


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["north", "south", "west"])), st.data())
def test_a_descent_tries_each_way_once_and_ends(members: dict[str, str], data: st.DataObject) -> None:
    """Groups fail in any order: each group is chosen at most once, and then the task is the cloud's."""
    halls = {agent: (hall,) for agent, hall in members.items()}
    descent, chosen = Descent("harbour", LEVELS), list[str]()
    while names := descent.step(halls).names:
        descent.choose(data.draw(st.sampled_from(names)))
        chosen.append(descent.at)
        assert set(descent.step(halls).names) == {agent for agent, hall in members.items() if hall == descent.at}
        assert descent.escalate("no_leader", "nobody leads") == Escalated(
            "group", chosen[-1], "harbour", "no_leader", "nobody leads"
        )
    last = descent.escalate("no_candidate", "no group is left")
    assert sorted(chosen) == sorted(set(members.values()))
    assert (last.level, last.name, last.to) == ("site", "harbour", TOP)


def test_a_mandate_says_why_it_does_not_cover_a_decision() -> None:
    """Another capability, another run, expired, spent, too dear, cut off."""
    given = Delegation(level="site", to="harbour", epoch=2, capabilities=("lift",), runs=("run-1",), tasks_max=1, expires_ms=50)
    mandate = Mandate(given)
    found = [
        mandate.refusal(Wanted("run-1", "a", "paint"), 0),
        mandate.refusal(Wanted("run-2", "a", "lift"), 0),
        mandate.refusal(Wanted("run-1", "a", "lift"), 50),
    ]
    mandate.spend(Wanted("run-1", "a", "lift"))
    found.append(mandate.refusal(Wanted("run-1", "b", "lift"), 0))
    held = Mandate(Delegation(level="site", to="harbour", epoch=1, cost_max=3, on_loss=Loss.HOLD))
    found.append(held.refusal(Wanted("run-1", "a", "lift", 4), 0))
    held.is_cut = True
    found.append(held.refusal(Wanted("run-1", "a", "lift", 1), 0))
    assert [refusal and refusal.reason for refusal in found] == [
        "out_of_scope",
        "out_of_scope",
        "expired",
        "budget",
        "budget",
        "cut_off",
    ]
