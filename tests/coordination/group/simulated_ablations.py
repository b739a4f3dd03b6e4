"""Safeguards of a member at work, and how to take each away."""

from collections.abc import Callable

import pytest

from coordination.group.log import Done, GroupLog, Proposal
from coordination.group.replica import driver as replica
from coordination.raft.values import Ready
from sync.commit import Commit


def _leave_at_once(patch: pytest.MonkeyPatch) -> None:
    whole = replica.Replica._do

    def do(self: replica.Replica, ready: Ready) -> None:
        self._send([message for message in ready.messages if message not in ready.early])
        whole(self, ready)

    patch.setattr(replica.Replica, "_do", do)


def _answer_at_once(patch: pytest.MonkeyPatch) -> None:
    def submit(self: GroupLog, commit: Commit, done: Done) -> None:
        if self._ended is not None:
            done(self._ended)
        else:
            self._propose(Proposal(b"", lambda error: None, self.boot, commit))
            done(None)

    patch.setattr(GroupLog, "submit", submit)


ABLATIONS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "leave_at_once": _leave_at_once,
    "answer_at_once": _answer_at_once,
}
