"""What the kernel knows of our processes: memory, and how often they wake up."""

import os
from pathlib import Path
from typing import NamedTuple


class Wakes(NamedTuple):
    """How often one thread has gone to sleep of its own accord, and how much it has caused to be written to a disk."""

    switches: int
    disk_bytes: int


def resident_mb(pids: list[int]) -> float:
    """Resident memory of all these processes together."""
    return sum(_status_kb(pid, "VmRSS") for pid in pids) / 1024


def peak_mb(pids: list[int]) -> float:
    """The sum of what each process has had resident at most; not all at one moment, so it is an upper bound."""
    return sum(_status_kb(pid, "VmHWM") for pid in pids) / 1024


def wakes(pid: int) -> dict[int, Wakes]:
    """Of each thread of the process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        status, io = _fields(task / "status"), _fields(task / "io")
        if status:
            found[int(task.name)] = Wakes(int(status["voluntary_ctxt_switches"]), int(io.get("write_bytes", "0")))
    return found


def log_thread(pid: int) -> int:
    """The thread of the node's log: only that one writes to the disk."""
    return max(wakes(pid).items(), key=lambda item: item[1].disk_bytes)[0]


def thread_name(pid: int, thread: int) -> str:
    """Its name in the kernel."""
    return Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()


def cpu_seconds(pid: int) -> float:
    """Processor time that the process has used, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status_kb(pid: int, field: str) -> int:
    return int(_fields(Path(f"/proc/{pid}/status")).get(field, "0 kB").split()[0])


def _fields(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, ProcessLookupError):
        return {}  # A thread that has ended meanwhile, or counters that this kernel does not show.
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
