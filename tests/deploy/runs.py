"""Runs as the API shows them."""

from tiercel.answers import Run, Started


def run_of(run: str, *tasks: str) -> Run:
    """A completed run; each task took one attempt, and the cloud learned of the end later."""
    return {
        "run": {
            "id": run,
            "definition": "example@1.0.0",
            "state": "completed",
            "created": 1_000,
            "ended": 9_500,
            "tasks": len(tasks),
            "completed": len(tasks),
        },
        "inputs": {},
        "tasks": [
            {"id": task, "state": "completed", "attempt": 1, "agent": "a-1", "site": "harbour", "ended": 2_500} for task in tasks
        ],
    }


def started(run: str, detail: str = "", *problems: str) -> Started:
    """The answer to a start; with `detail`, a refusal."""
    if not detail:
        return {"id": run, "state": "pending", "definition": "example@1.0.0"}
    error = {"status": 422, "code": "invalid_inputs", "detail": detail, "problems": list(problems)}
    return {"id": "", "state": "", "definition": "", "error": error}  # type: ignore[typeddict-item] # Its keys are known above.
