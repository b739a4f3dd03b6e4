"""Tiercel for those who do the work: write an agent.

An agent offers capabilities, which are functions. Workflows say which capability a task needs; the site's edge node
hands the task to an agent that has it, over one connection that the agent opens. The whole loop:

    1. connect, and say who I am, what I can do, how much at once, and what I still hold from before;
    2. take assignments, never one of them twice;
    3. run them, and stop them when asked, when their time is over, or when the lease on physical work runs out;
    4. write each result to the journal, send it, and keep it until the site says that it is safe;
    5. connect again when the line is cut: work goes on meanwhile.

    from tiercel import Agent, TaskContext, TerminalError

    agent = Agent("picker-1", kind="robot")

    @agent.capability("pick-item")
    def pick(task: TaskContext, sku: str, quantity: int = 1) -> dict:
        if quantity < 1:
            raise TerminalError(f"cannot pick {quantity} of {sku}")
        return {"sku": sku, "picked": quantity, "key": task.idempotency_key}

    agent.run("127.0.0.1:7444")

A gateway on another machine is reached over TLS: `Agent("picker-1", tls=Tls("ca.crt", "tls.crt", "tls.key"))`.

Work that takes long tells how far it is: `task.progress(0.4, "40 of 100 boxes")`. A task with `heartbeat: 10s` must do so, or
call `task.heartbeat()`, at least every ten seconds; it is stopped when it falls silent.

A task may reach an agent more than once when something fails. `task.idempotency_key` is the same every time: write
under it, and a repetition changes nothing.

What several tasks act on in turn, a forklift or a valve, is guarded by a `FencedResource`: `task.leases["forklift"]` is the
number under which the site gave it to this task, and whoever comes with a lower one than has been there is refused.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiercel.agent import Agent
    from tiercel.bidding import Bid, Offer
    from tiercel.context import TaskContext
    from tiercel.errors import RetryableError, TerminalError
    from tiercel.fenced import FencedResource
    from tiercel.leading import Follower, Lead, LeadTask
    from tiercel.tls import Tls
    from tiercel.voting import Proposal

__all__ = [
    "Agent",
    "Bid",
    "FencedResource",
    "Follower",
    "Lead",
    "LeadTask",
    "Offer",
    "Proposal",
    "RetryableError",
    "TaskContext",
    "TerminalError",
    "Tls",
]

_HOMES = {
    "Agent": "tiercel.agent",
    "Bid": "tiercel.bidding",
    "Offer": "tiercel.bidding",
    "FencedResource": "tiercel.fenced",
    "Follower": "tiercel.leading",
    "Lead": "tiercel.leading",
    "LeadTask": "tiercel.leading",
    "Proposal": "tiercel.voting",
    "RetryableError": "tiercel.errors",
    "TaskContext": "tiercel.context",
    "TerminalError": "tiercel.errors",
    "Tls": "tiercel.tls",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the CLI shares this package and must not pay for gRPC at every start."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tiercel' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
