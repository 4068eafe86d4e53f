"""The running counts on the terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from rich.console import Console
from rich.live import Live

from deploy.inspector.report import counters
from deploy.inspector.tally import Tally

LINE_EVERY_S = 5.0
"""How often the counts are printed where there is no terminal to update."""


@contextmanager
def counts_shown(tally: Tally, console: Console) -> Iterator[Callable[[], None]]:
    """Counts that change in place on a terminal, and a line now and then in a log."""
    every_s = 0.25 if console.is_terminal else LINE_EVERY_S
    due = time.monotonic() + every_s

    with Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else ExitStack() as live:

        def show() -> None:
            nonlocal due
            if time.monotonic() < due:
                return
            due = time.monotonic() + every_s
            with suppress(OSError, SystemExit):  # a log on a full disk, or a pipe that nobody reads, is no reason to stop
                if isinstance(live, Live):
                    live.update(counters(tally), refresh=True)
                else:
                    console.print(counters(tally), soft_wrap=True)

        yield show
