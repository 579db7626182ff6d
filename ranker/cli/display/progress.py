"""Progress bars on stderr, with rate and time left; silent where nobody looks."""

from __future__ import annotations

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from ranker.cli.display.output import is_quiet
from ranker.ingest.files.survey import OnProgress

INTERVAL_S = 0.1


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Show rows per second."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "")


class Progress:
    """A bar for each stage of a work. A context manager."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        self._bars = RichProgress(*columns, console=Console(stderr=True), disable=is_quiet() or not sys.stderr.isatty())

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def began(self, stage: str, rows: int | None, done: int) -> OnProgress:
        """Show a new bar; return whom to tell how many rows are dealt with."""
        task = self._bars.add_task(stage, total=rows, completed=done)
        shown = 0.0

        def advance(rows_done: int) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= INTERVAL_S or rows_done == rows:
                shown = now
                self._bars.update(task, completed=rows_done)

        return advance
