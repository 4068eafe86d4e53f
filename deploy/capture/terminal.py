"""Keys from a terminal without a screen (SSH), or from a script's pipe; one line of status."""

import codecs
import os
import select
import termios
import tty
from collections import deque
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from deploy.capture.keys import typed
from deploy.capture.labelling import Message
from deploy.capture.status import Status
from deploy.preprocess import Picture

PAUSE_S = 0.05


class Terminal:
    """Reads keys from a file descriptor; a terminal is put back as it was, however the session ends."""

    def __init__(self, source: int, console: Console) -> None:
        self.scripted = not os.isatty(source)
        self._source = source
        self._console = console
        self._keys: deque[str] = deque()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._said: Message | None = None
        self._put_back: Callable[[], None] = _nothing
        shows_status = console.is_terminal and not self.scripted
        self._live = Live(console=console, auto_refresh=False, transient=True) if shows_status else None
        self._shown: Status | None = None

    def __enter__(self) -> "Terminal":
        if not self.scripted:
            before = termios.tcgetattr(self._source)
            self._put_back = lambda: termios.tcsetattr(self._source, termios.TCSANOW, before)
            tty.setcbreak(self._source, termios.TCSANOW)  # each key at once and not echoed; Ctrl-C still ends
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._live is not None:
                self._live.stop()
        finally:
            self._put_back()

    def next_key(self, picture: Picture | None, status: Status) -> str | None:
        """See `deploy.capture.status.Interface`; the end of a script is the key q."""
        self._show(status)
        if not self._keys and select.select([self._source], [], [], PAUSE_S)[0]:
            chunk = os.read(self._source, 1024)
            self._keys.extend(typed(self._decode(chunk)) if chunk else "q")
        return self._keys.popleft() if self._keys else None

    def _show(self, status: Status) -> None:
        if status.last is not self._said:
            self._said = status.last
            style = "bold red" if status.last.alarm else None
            self._console.print(status.last.text, style=style, highlight=False, markup=False, soft_wrap=True)
        if self._live is not None and status != self._shown:
            self._shown = status
            line = Text(f"{status.part} | {status.counts} | ", no_wrap=True, overflow="ellipsis")
            self._live.update(line.append(status.picture, None if status.ready else "bold red"), refresh=True)


def _nothing() -> None:
    pass
