"""What a measurement is told, as one value."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """One measurement. `effect` empty: both, each under its key. `data` None: a temporary directory on a real disk."""

    name: str
    runs: int = 0
    tasks: int = 0
    effect: str = ""
    coordination: str = ""
    kill: str = ""
    agents: int = 1
    capacity: int = 256
    repeats: int = 1
    events: int = 0
    commits: int = 0
    kills: int = 0
    data: Path | None = None
    ray: bool = True
    floors: bool = True
