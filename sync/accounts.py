"""What a budget was spent on: awards by task and what they cost, as plain values that logs and cores share."""

import msgspec


class Account(msgspec.Struct, array_like=True):
    """Tasks count once, however often they are awarded; costs count as often. What is given back leaves nothing behind.

    `awards` are those that stand, by task; `cost` is in the unit of the fleet's bids, to six decimals.
    """

    awards: dict[int, int] = {}
    cost: float = 0.0

    @property
    def tasks(self) -> int:
        """How many tasks it was spent on."""
        return len(self.awards)

    def spend(self, task: int, cost: float) -> None:
        """The task was awarded, again or for the first time."""
        self.awards[task] = self.awards.get(task, 0) + 1
        self.cost = round(self.cost + cost, 6)

    def give_back(self, task: int, cost: float) -> None:
        """An award of this cost came to nothing: nobody has begun."""
        assert task in self.awards, f"task {task} was awarded"
        self.awards[task] -= 1
        if not self.awards[task]:
            del self.awards[task]
        self.cost = max(0.0, round(self.cost - cost, 6))
