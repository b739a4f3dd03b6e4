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
SLEEPING = 10  # It serves another task, which does not need it now.
BLOCKED = 11
VALIDATING = 12
STUCK = 13  # It failed, and the run waits for a person.
VOID = 14  # A copy that belongs to an earlier try of its map or repeat.

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
    "sleeping",
    "waiting_for_resource",
    "validating",
    "failed",
    "void",
)

# As bytes, so that `state in ENDED` is one search in a few bytes.
ENDED = bytes((COMPLETED, FAILED, SKIPPED, CANCELLED))
# States that count in nothing: another site's, or not wanted now.
ABSENT = bytes((ELSEWHERE, SLEEPING, VOID))
# Nothing of the task has begun, or it waits for something that can be called off.
NOT_BEGUN = bytes((PENDING, READY, WAITING, BLOCKED))
