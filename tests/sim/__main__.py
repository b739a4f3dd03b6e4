"""`python -m tests.sim SEED...`: seeds again, to the byte; prints the trace's hash and, if a guarantee broke, which and how.
Each is told in the world that its number says, or in that of `--world NAME` (`tests.sim.worlds`). With `--shrink`, also the
smallest plan found that breaks the same guarantee."""

import argparse
import time

from tests.sim.plan import Plan
from tests.sim.shrinking import shrunk
from tests.sim.world import Outcome, run_plan
from tests.sim.worlds import WORLDS, plan_of, tell


def shrink(outcome: Outcome) -> None:
    """Print the steps that this failure needs."""
    guarantee = outcome.broken.partition(":")[0]

    def breaks(plan: Plan) -> bool:
        return run_plan(plan, WORLDS[outcome.world]).broken.partition(":")[0] == guarantee

    print("it needs:", *shrunk(plan_of(outcome.seed, outcome.world), breaks).steps, sep="\n")


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    asked.add_argument("seeds", metavar="SEED", nargs="*", type=int, default=[42])
    asked.add_argument("--world", choices=sorted(WORLDS), default="")
    asked.add_argument("--shrink", action="store_true")
    said, broke = asked.parse_args(), 0
    for seed in said.seeds:
        begin_s = time.process_time()
        outcome = tell(seed, said.world)
        took = f"{outcome.steps} steps, {outcome.virtual_s:.0f} virtual s in {time.process_time() - begin_s:.2f} s"
        print(f"seed {seed} in {outcome.world}: trace {outcome.digest}, {took}")
        if outcome.broken:
            broke += 1
            print(*outcome.last, f"BROKEN: {outcome.broken}", sep="\n")
            if said.shrink:
                shrink(outcome)
        elif len(said.seeds) == 1:
            print(", ".join(f"{name} {count}" for name, count in outcome.seen.items()))
    return broke > 0


if __name__ == "__main__":
    raise SystemExit(main())
