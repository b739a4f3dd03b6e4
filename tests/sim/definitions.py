"""The workload: small definitions that together use once, repeatable and physical work, values across sites, signals, copies."""

from typing import Any

ONCE, AGAIN, BODY = "once", "repeatable", "physical"


def work(capability: str, effect: str, **more: Any) -> dict[str, Any]:
    return {"capability": capability, "effect": effect, **more}


def definition(name: str, **tasks: Any) -> dict[str, Any]:
    return {"name": name, "version": "1", "tasks": tasks}


CONTRACTS: tuple[dict[str, Any], ...] = (
    *({},) * 4,
    {"consistency": "strong"},
    {"consistency": {"level": "strong", "wait": "15s"}, "autonomy": "compensate"},
    {"consistency": {"level": "bounded", "versions": 3}, "autonomy": "continue"},
    {"consistency": {"level": "bounded", "time": "3s"}},
    {"consistency": {"level": "bounded", "versions": 4, "time": "5s"}, "autonomy": "hold"},
    {"autonomy": "continue"},
    {"autonomy": {"when_cut": "continue", "budget": 3, "then": "compensate"}},
    {"autonomy": "hold"},
)
"""What runs are promised, if not the default."""

DEFINITIONS: dict[str, dict[str, Any]] = {
    "line": definition(
        "line",
        pick=work("pick", ONCE),
        pack=work("pack", AGAIN, needs=["pick"], **{"with": {"of": "${{ tasks.pick.output }}"}}),
        ship=work("ship", ONCE, needs=["pack"]),
    ),
    "across": definition(
        "across",
        here=work("pick", ONCE, site="harbour"),
        there=work("pick", ONCE, site="airport", needs=["here"], **{"with": {"of": "${{ tasks.here.output }}"}}),
        back=work("pack", AGAIN, site="harbour", needs=["there"], **{"with": {"of": "${{ tasks.there.output }}"}}),
    ),
    "told": definition(
        "told",
        pick=work("pick", AGAIN),
        told={"wait": {"signal": "go"}, "needs": ["pick"], "timeout": 90, "optional": True},
        ship=work("ship", BODY, needs=["told"]),
    ),
    "many": definition(
        "many",
        each={"map": {"over": "[1, 2, 3, 4]", "tasks": {"one": work("pack", AGAIN)}}},
        ship=work("ship", ONCE, needs=["each"]),
    ),
    "jam": definition(
        "jam",
        belt=work("jam", AGAIN, retry={"max_attempts": 4, "delay": 2}),
        pick=work("pick", BODY, needs=["belt"]),
    ),
}
