"""Mandates never give more than they have, and a descent tries each way once."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from coordination.hierarchy import TOP, Delegation, Descent, Escalated, Level, Loss, Mandate, Refusal, Wanted

LEVELS = (Level("site", "direct"), Level("group", "leader"))
costs = st.floats(0, 10, allow_nan=False)


@given(
    st.lists(
        st.tuples(st.sampled_from(["want", "want", "again", "back", "cut", "heard", "anew", "old", "end"]), costs), max_size=60
    ),
    st.integers(0, 5),
    st.sampled_from([inf, 0.0, 12.5]),
    st.sampled_from(Loss),
)
def test_a_mandate_never_gives_more_than_it_has(
    happenings: list[tuple[str, float]], tasks_max: int, cost_max: float, on_loss: Loss
) -> None:
    """Whatever is wanted, wanted again, given back, cut, told anew or told late: per epoch the budget holds for what stands, and
    equals its sum; nothing goes after the end, nothing new while held."""
    given = Delegation(level="group", to="cranes", epoch=1, tasks_max=tasks_max, cost_max=cost_max, on_loss=on_loss)
    mandate, number, cut_since = Mandate(given), 0, set[str]()
    standing: list[Wanted] = []
    for what, cost in happenings:
        match what:
            case "want" | "again":
                number += what == "want" or not standing
                task = standing[-1].task if what == "again" and standing else number
                wanted = Wanted(f"run-{task % 3}", task, "lift", round(cost, 3))
                if mandate.refusal(wanted) is None:
                    mandate.spend(wanted)
                    standing.append(wanted)
                    assert not mandate.is_over
                    assert not (mandate.is_cut and on_loss is Loss.HOLD)
                    assert not (mandate.is_cut and on_loss is Loss.FINISH and wanted.run not in cut_since)
            case "back" if standing:
                mandate.give_back(standing.pop(int(cost * 7) % len(standing)))
            case "cut":
                mandate.is_cut, cut_since = True, set(mandate.runs)
            case "heard":
                mandate.is_cut = False
            case "anew":
                epoch = mandate.given.epoch + 1
                later = Delegation(level="group", to="cranes", epoch=epoch, tasks_max=tasks_max, cost_max=cost_max)
                assert mandate.replace(later) is None
                on_loss, cut_since, standing = Loss.CONTINUE, set(), []
            case "old":
                before = mandate.given
                refused = mandate.replace(Delegation(level="group", to="cranes", epoch=before.epoch - 1))
                assert isinstance(refused, Refusal)
                assert mandate.given == before
            case "end":
                mandate.is_over = True
            case _:
                pass
        tasks = {each.task for each in standing}
        assert mandate.spent.tasks == len(tasks)
        assert not tasks_max or len(tasks) <= tasks_max
        assert abs(mandate.spent.cost - sum(each.cost for each in standing)) < 1e-4
        assert mandate.spent.cost <= cost_max


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


def test_a_level_of_agents_has_the_last_word() -> None:
    """The group chooses an agent; who does not take the task is not chosen again."""
    halls = {"anna": ("north",), "ben": ("north",)}
    descent = Descent("harbour", (*LEVELS, Level("agent", "offer")))
    descent.choose("north")
    assert (descent.is_last, descent.step(halls).names) == (True, ("anna", "ben"))
    descent.choose("anna")
    assert (descent.is_at_agent, descent.is_last, descent.whole) == (True, False, ("harbour", "north", "anna"))
    assert descent.escalate("rejected", "anna does not take it") == Escalated(
        "agent", "anna", "north", "rejected", "anna does not take it"
    )
    assert descent.step(halls).names == ("ben",)
    descent.climb(0)
    assert descent.step(halls).names == ("north",)


def test_a_mandate_says_why_it_does_not_cover_a_decision() -> None:
    """Another capability, another run, over, spent, too dear, spent to the end, cut off. What it has decided it decides again."""
    given = Delegation(level="site", to="harbour", epoch=2, capabilities=("lift",), runs=("run-1",), tasks_max=1)
    mandate = Mandate(given)
    found = [mandate.refusal(Wanted("run-1", 1, "paint")), mandate.refusal(Wanted("run-2", 1, "lift"))]
    mandate.is_over = True
    found.append(mandate.refusal(Wanted("run-1", 1, "lift")))
    mandate.is_over = False
    mandate.spend(Wanted("run-1", 1, "lift"))
    found.append(mandate.refusal(Wanted("run-1", 2, "lift")))
    assert mandate.refusal(Wanted("run-1", 1, "lift")) is None
    held = Mandate(Delegation(level="site", to="harbour", epoch=1, cost_max=3, on_loss=Loss.HOLD))
    found.append(held.refusal(Wanted("run-1", 1, "lift", 4)))
    held.spend(Wanted("run-1", 2, "lift", 3))
    found.append(held.refusal(Wanted("run-1", 1, "lift")))
    held.give_back(Wanted("run-1", 2, "lift", 3))
    held.is_cut = True
    found.append(held.refusal(Wanted("run-1", 1, "lift", 1)))
    reasons = ["out_of_scope", "out_of_scope", "expired", "budget", "budget", "budget", "cut_off"]
    assert [refusal and refusal.reason for refusal in found] == reasons
    assert all(refusal is None or "harbour" in refusal.message for refusal in found)
