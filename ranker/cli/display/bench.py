"""Live display of `ranker bench`: the last second beside the whole, and p99 over time."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ranker.loadtest.recording import Figures
from ranker.loadtest.run import Run

BARS = "▁▂▃▄▅▆▇█"
SHOWN_S = 60
"""Seconds in the plot of p99."""


class Display:
    """A live display on stderr; nothing at all where that is no terminal.

    Args:
        url: What is loaded.
        rate: Requests a second.
        seconds: How long.
    """

    def __init__(self, url: str, rate: float, seconds: float) -> None:
        self._title = f"{url}  {rate:g} requests a second"
        self._seconds = seconds
        console = Console(stderr=True, highlight=False)
        # Gone at the end, for the result is printed then. Redrawn only when there is something new.
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, run: Run) -> None:
        """Show what has come of the run so far."""
        if self._live is not None:
            self._live.update(self.render(run), refresh=True)

    def render(self, run: Run) -> RenderableType:
        """Return the picture of a run that has lasted a second at least."""
        table = Table(box=None, padding=(0, 2))
        for heading in ("", "sent/s", "p50 ms", "p99 ms", "max ms", "errors"):
            table.add_column(heading, justify="right")
        table.add_row("last second", *_cells(run.seconds[-1]))
        table.add_row("whole run", *_cells(run.figures()))
        return Group(
            Text(self._title, style="bold"),
            ProgressBar(self._seconds, min(run.lasted_s, self._seconds), width=SHOWN_S),
            table,
            Text(f"p99 by second  {plot(run.seconds[-SHOWN_S:])}"),
            Text(f"{run.in_flight:,} in flight; generator: {run.seconds[-1].cpu_share:.0%} of a core", style="dim"),
        )


def plot(seconds: list[Figures]) -> str:
    """Return a bar for the p99 of each second, the highest full; a blank for a second without answers."""
    values = [second.latency.get("p99_ms", 0.0) for second in seconds]
    top = max(values, default=0.0)
    if not top:
        return " " * len(values)
    bars = "".join(BARS[min(int(v / top * len(BARS)), len(BARS) - 1)] if v else " " for v in values)
    return f"{bars}  (highest {top:.1f} ms)"


def _cells(figures: Figures) -> list[str]:
    latency = [f"{figures.latency[name]:.1f}" if figures.latency else "-" for name in ("p50_ms", "p99_ms", "max_ms")]
    return [f"{figures.requests / figures.seconds:,.0f}", *latency, f"{sum(figures.errors.values()):,}"]
