"""A plan that breaks a guarantee, without the steps that it can do without (Zeller and Hildebrandt, "Simplifying and isolating
failure-inducing input", 2002, section 3: the complements of ever smaller parts)."""

from collections.abc import Callable

from tests.sim.plan import Plan


def shrunk(plan: Plan, breaks: Callable[[Plan], bool]) -> Plan:
    """The smallest plan found of which no single step can be left out. `plan` itself must break."""
    size = max(1, len(plan.steps) // 2)
    while plan.steps:
        begin, found = 0, False
        while begin < len(plan.steps):
            smaller = plan.without(set(range(begin, begin + size)))
            if len(smaller.steps) < len(plan.steps) and breaks(smaller):
                plan, found = smaller, True
            else:
                begin += size
        if size == 1 and not found:
            break
        size = max(1, size // 2)
    return plan
