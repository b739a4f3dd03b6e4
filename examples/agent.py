"""A person's own agent: run it beside `tiercel up`, with the gateway's address as its argument.

python examples/agent.py 127.0.0.1:7444
"""

import sys

from tiercel import Agent, TaskContext, TerminalError

agent = Agent("maria-1", kind="human", capacity=2)


@agent.capability("inspect-item")
def inspect_item(task: TaskContext, sku: str, quantity: int = 1) -> dict[str, object]:
    """Look at items, one by one. It stops when asked, and may be done again: its key is the same every time."""
    if quantity < 1:
        raise TerminalError(f"cannot inspect {quantity} of {sku}", code="bad_quantity")
    for count in range(quantity):
        task.progress(count / quantity, f"{count} of {quantity} inspected")
        task.wait_cancelled(0.1)
        task.raise_if_cancelled()
    return {"sku": sku, "inspected": quantity, "key": task.idempotency_key}


if __name__ == "__main__":
    agent.run(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7444")
