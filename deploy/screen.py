"""What the demo shows while it works: a bar for each site on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.watching import Share
from tiercel.cli.text import clean

PLAIN_EVERY_S = 2.0
BAR_WIDTH_MAX = 40
BESIDE_THE_BAR = 52


@dataclass(frozen=True, slots=True)
class SiteLine:
    """One site as the cloud knows it: its tasks, its link, and how old that knowledge is (ms)."""

    name: str
    share: Share
    link: str
    staleness_ms: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One moment. `working` are sentences about what is running."""

    sites: Sequence[SiteLine]
    tasks_per_s: float
    running: int
    working: Sequence[str]


class Screen:
    """Bars that stay at the bottom of the terminal, with lines above them; without a terminal only lines."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            self._live = Live(Text(), console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.clear()

    def clear(self) -> None:
        """The work is over: the bars go, the lines stay."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, line: str, style: str = "") -> None:
        """A line that stays."""
        self._console.print(Text(clean(line), style))

    def act(self, line: str) -> None:
        """A line that begins something."""
        self._console.print()
        self.say(line, "bold yellow")

    def show(self, picture: Picture) -> None:
        """The moment as it is; on a terminal in place of the last one."""
        if self._live is not None:
            self._live.update(_drawn(picture, self._console.width))
        elif time.monotonic() - self._told >= PLAIN_EVERY_S:
            self._told = time.monotonic()
            self._console.print(Text(self._line(picture)))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Mapping[str, str]) -> None:
        """Rows under their columns; a word of `styles` has its style."""
        widths = [max(len(line[n]) for line in [columns, *rows]) for n in range(len(columns))]
        for number, row in enumerate([columns, *rows]):
            line = Text("  ")
            for cell, width in zip(row, widths, strict=True):
                line.append(clean(cell).ljust(width), "bold" if number == 0 else styles.get(cell, ""))
                line.append("  ")
            line.rstrip()
            self._console.print(line)

    def _line(self, picture: Picture) -> str:
        parts = [f"{time.monotonic() - self._began:5.0f} s"]
        parts += [
            f"{site.name} {site.share.part:4.0%} ({site.share.done}/{site.share.total}){_cut_off(site)}" for site in picture.sites
        ]
        working = f": {picture.working[0]}" if picture.working else ""
        return "   ".join([*parts, f"{picture.tasks_per_s:3.0f} tasks/s", f"{picture.running} running{working}"])


def _cut_off(site: SiteLine) -> str:
    return "" if site.link == "up" else ", cut off"


def _drawn(picture: Picture, width: int) -> Group:
    bar_width = max(8, min(BAR_WIDTH_MAX, width - BESIDE_THE_BAR))
    bars = Table.grid(padding=(0, 2))
    for site in picture.sites:
        known = "" if site.link == "up" else f", known {site.staleness_ms / 1000:.0f} s ago"
        bars.add_row(
            Text(site.name, "bold"),
            ProgressBar(total=max(site.share.total, 1), completed=site.share.done, width=bar_width),
            Text(f"{site.share.done}/{site.share.total} tasks"),
            Text(f"link {site.link}{known}", "dim" if site.link == "up" else "yellow"),
        )
    lines = [Text(f"{picture.tasks_per_s:.0f} tasks/s, {picture.running} running")]
    lines += [Text(f"  {clean(line)}", "dim", no_wrap=True, overflow="ellipsis") for line in picture.working]
    return Group(Text(), bars, *lines)
