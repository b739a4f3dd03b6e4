"""What is decided when agents vote, as facts: that a question was asked, and what came of it."""

from workflow.events import Event, register


class VoteAsked(Event, frozen=True):
    """Agents are asked, for this task, under this epoch: votes under another do not count. `what`: vote (the task is the
    question) or consensus (which agent does the task)."""

    task: int
    epoch: int
    what: str
    voters: list[str]


class VoteClosed(Event, frozen=True):
    """The result of what was asked under the epoch, as JSON (`coordination.ballot.Result`): with every vote, who did not vote,
    the rule and the reason. Without an `option` the proposal was rejected."""

    task: int
    epoch: int
    option: str
    result: bytes


register(VoteAsked, VoteClosed)
