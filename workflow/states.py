"""The states of a task, one byte each, and the words that people read for them."""

PENDING = 0
READY = 1
RUNNING = 2
WAITING = 3
COMPLETED = 4
FAILED = 5
SKIPPED = 6
CANCELLED = 7
RECONCILE = 8
ELSEWHERE = 9

NAMES = (
    "pending",
    "ready",
    "running",
    "waiting",
    "completed",
    "failed",
    "skipped",
    "cancelled",
    "reconcile",
    "elsewhere",
)

# As bytes, so that `state in ENDED` is one search in four bytes.
ENDED = bytes((COMPLETED, FAILED, SKIPPED, CANCELLED))
