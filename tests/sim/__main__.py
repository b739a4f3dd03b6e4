"""`python -m tests.sim SEED`: one seed again, to the byte; prints the trace's hash and, if a guarantee broke, which and how."""

import sys
import time

from tests.sim.world import run_seed


def main() -> int:
    broke = 0
    for seed in map(int, sys.argv[1:] or ["42"]):
        begin_s = time.process_time()
        outcome = run_seed(seed)
        cpu_s = time.process_time() - begin_s
        print(f"seed {seed}: trace {outcome.digest}, {outcome.steps} steps, {outcome.virtual_s:.0f} virtual s in {cpu_s:.2f} s")
        if outcome.broken:
            broke += 1
            print(*outcome.last, f"BROKEN: {outcome.broken}", sep="\n")
        elif len(sys.argv) <= 2:
            print(", ".join(f"{name} {count}" for name, count in outcome.seen.items()))
    return broke > 0


if __name__ == "__main__":
    raise SystemExit(main())
