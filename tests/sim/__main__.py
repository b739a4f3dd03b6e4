"""`python -m tests.sim SEED...`: seeds again, to the byte; prints the trace's hash and, if a guarantee broke, which and how.
With `--shrink`, also the smallest plan found that breaks the same guarantee."""

import sys
import time

from tests.sim.plan import Plan, draw_plan
from tests.sim.shrinking import shrunk
from tests.sim.world import Outcome, run_plan, run_seed


def shrink(outcome: Outcome) -> None:
    """Print the steps that this failure needs."""
    guarantee = outcome.broken.partition(":")[0]

    def breaks(plan: Plan) -> bool:
        return run_plan(plan).broken.partition(":")[0] == guarantee

    print("it needs:", *shrunk(draw_plan(outcome.seed), breaks).steps, sep="\n")


def main() -> int:
    broke = 0
    seeds = [int(each) for each in sys.argv[1:] if each != "--shrink"] or [42]
    for seed in seeds:
        begin_s = time.process_time()
        outcome = run_seed(seed)
        cpu_s = time.process_time() - begin_s
        print(f"seed {seed}: trace {outcome.digest}, {outcome.steps} steps, {outcome.virtual_s:.0f} virtual s in {cpu_s:.2f} s")
        if outcome.broken:
            broke += 1
            print(*outcome.last, f"BROKEN: {outcome.broken}", sep="\n")
            if "--shrink" in sys.argv:
                shrink(outcome)
        elif len(seeds) == 1:
            print(", ".join(f"{name} {count}" for name, count in outcome.seen.items()))
    return broke > 0


if __name__ == "__main__":
    raise SystemExit(main())
