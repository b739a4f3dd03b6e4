"""Two cranes that lift one load together: neither raises it before both have hooked on.

    tiercel definition register examples/lifting.yaml
    python examples/lifting.py crane-1 & python examples/lifting.py crane-2 &
    tiercel run start lifting --input load=container-7 --watch

Stop one of them while the other waits (`tiercel run sync list RUN` shows it): with its lease the point is broken for both.
"""

import asyncio
import sys

from tiercel import Agent, TaskContext


def crane(name: str) -> Agent:
    """A crane that hooks on, waits for the other, and raises."""
    agent = Agent(name, kind="robot", capacity=1)  # One load at a time, so each crane gets one of the two tasks.

    @agent.capability("lift")
    async def lift(load: str, height_m: float, context: TaskContext) -> dict[str, object]:
        context.progress(0.3, f"hooked on {load}")
        await asyncio.sleep(0.1)
        met = await context.sync_point("hooked", timeout_s=120)
        context.progress(0.6, f"lifting with {', '.join(party for party in met.parties if party != name)}")
        return {"load": load, "height_m": height_m, "lifted_by": sorted(met.parties)}

    return agent


if __name__ == "__main__":
    crane(sys.argv[1]).run(sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:7444")
