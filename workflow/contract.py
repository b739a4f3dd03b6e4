"""What a run is promised: how certain its steps are (`Level`), and what goes on at its home while the cloud cannot be reached.

The level comes first; the autonomy governs what it lets go on. A run without a contract has the default: eventual, and while cut
off it finishes what was released.
"""

from typing import Literal

import msgspec

from sync.levels import EVENTUAL, Level

WhenCut = Literal["continue", "finish_released", "hold", "compensate"]
STRONG_ALLOWS = ("hold", "compensate")
GRACE_MS = 5_000
"""What cannot be taken back (a run goes back, or fails) begins once the link has been down so long: a reconnect takes less."""
DRIFT_PERCENT = 5
"""By how much a monotonic clock may run too fast or too slow."""


class Autonomy(msgspec.Struct, array_like=True, frozen=True):
    """What the home does with the run while it is cut off. After `horizon_ms` of being cut off, or `budget_tasks` attempts begun
    meanwhile, it does what `then` says; 0: without an end."""

    when_cut: WhenCut = "finish_released"
    horizon_ms: int = 0
    budget_tasks: int = 0
    then: Literal["hold", "compensate"] = "hold"

    def gives_up_ms(self) -> int:
        """How long a home decides without the cloud (ms), counted from when it sent the last heartbeat that was answered: early
        by the most that its clock may be slow."""
        return self.horizon_ms - self.horizon_ms * DRIFT_PERCENT // 100

    def taken_after_ms(self) -> int:
        """After how long without word of the home (ms, from when that was noticed) the cloud may give the run to another: late by
        the most that its clock may be fast. Agents' leases come on top (attempts.LOCK_DELAY_MS). 0: never by itself."""
        moves = self.horizon_ms and self.then == "hold" and self.when_cut != "compensate"
        return self.horizon_ms + self.horizon_ms * DRIFT_PERCENT // 100 + 1 if moves else 0


class Contract(msgspec.Struct, array_like=True, frozen=True):
    """Both together."""

    level: Level = EVENTUAL
    autonomy: Autonomy = Autonomy()


def taken_after_ms(contract: Contract | None) -> int:
    """After how long (ms) the cloud may by itself give the run to another site; 0: never."""
    return contract.autonomy.taken_after_ms() if contract is not None else 0


DEFAULT = Contract()
HOLD = Autonomy("hold")


class ContractRefused(Exception):
    """Level and autonomy do not go together."""


def contract_of(level: Level | None, autonomy: Autonomy | None) -> Contract | None:
    """The contract that was asked for; None for the default, so that plain runs carry nothing. Raises ContractRefused."""
    if level is None and autonomy is None:
        return None
    level = level or EVENTUAL
    if level.kind == "strong":
        autonomy = autonomy or HOLD
        if autonomy.when_cut not in STRONG_ALLOWS:
            raise ContractRefused(
                f"consistency strong does not go with autonomy {autonomy.when_cut}, for nothing of it counts before the cloud "
                f"has it; allowed: {', '.join(STRONG_ALLOWS)}"
            )
    contract = Contract(level, autonomy or Autonomy())
    return None if contract == DEFAULT else contract


def inherited(own: Contract | None, parent: Contract | None, *, says_itself: bool) -> Contract | None:
    """The contract of a child: its definition's, if that says anything of it, else its parent's, whole. Halves of both would be a
    promise that nobody made."""
    return own if says_itself else parent
