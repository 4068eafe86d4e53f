"""Another bundle without a stop: it is checked in full beside the running one, and takes over between two frames.

`inspector reload` leaves its wish in the record's folder as `reload.json` and sends SIGUSR1; the answer is `reloaded.json`. The
signal alone, or a service manager's SIGHUP, loads the bundle again from where it was.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deploy.errors import InspectionError, StationError
from deploy.files import write_whole
from deploy.health.logs import log_event
from deploy.inspector.judge import Judge
from deploy.inspector.running import running

WISH, ANSWER = "reload.json", "reloaded.json"
PATIENCE_S = 600.0
"""How long `inspector reload` waits: TensorRT may build an engine first."""


class Reloading:
    """Who judges, and who will. `opened` makes the next judge, from a bundle or from where the last one came.

    `tell` hears of each outcome as a sentence, on a thread of its own.
    """

    def __init__(
        self, judge: Judge, folder: Path, opened: Callable[[Path | None], Judge], tell: Callable[[str], None] | None = None
    ) -> None:
        self.judge = judge
        self._folder = folder
        self._opened = opened
        self._tell = tell or (lambda _: None)
        self._thread: threading.Thread | None = None
        self._asked = threading.Event()

    def current(self) -> Judge:
        """Who decides from the next frame on."""
        return self.judge

    def look(self) -> None:
        """Begin a reload that was asked for, unless one is under way. Call it now and then; it returns at once."""
        if self._asked.is_set() and (self._thread is None or not self._thread.is_alive()):
            self._asked.clear()
            thread = threading.Thread(target=self._reload, name="reload", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError):  # no thread to be had now
                self._asked.set()
            else:
                self._thread = thread

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """SIGUSR1 asks for a reload meanwhile, and so does SIGHUP, unless it would say that the terminal was closed."""
        numbers = [signal.SIGUSR1] if sys.stdout.isatty() else [signal.SIGUSR1, signal.SIGHUP]
        before = {number: signal.signal(number, lambda *_: self._asked.set()) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _reload(self) -> None:
        wish = _take(self._folder / WISH) or {}
        before = self.judge
        try:
            judge = self._opened(Path(wish["bundle"]) if wish.get("bundle") else None)
            self.judge = judge
            is_taken, message = True, f"{_named(judge)} decides from now on, before it was {_named(before)}"
        except Exception as error:  # whatever is wrong with it, the one that runs goes on
            words = str(error) if isinstance(error, (InspectionError, OSError)) else f"{type(error).__name__}: {error}"
            is_taken, message = False, f"the bundle was refused, {_named(before)} goes on deciding: {words}"
        self._tell(message)
        log_event("bundle", logging.INFO if is_taken else logging.WARNING, message=message)
        with suppress(OSError):
            if "id" in wish:
                answer = {"id": wish["id"], "taken": is_taken, "message": message}
                write_whole(self._folder / ANSWER, json.dumps(answer) + "\n")


def ask_reload(folder: Path, bundle: Path | None) -> str:
    """Have the inspector that records into `folder` load `bundle`, or its own one again; what it says of it.

    Raises StationError when none runs there, or the bundle was refused.
    """
    process = running(folder)
    wish = uuid.uuid4().hex
    (folder / ANSWER).unlink(missing_ok=True)
    write_whole(folder / WISH, json.dumps({"id": wish, "bundle": bundle and str(bundle.resolve())}) + "\n")
    os.kill(process, signal.SIGUSR1)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        answer = _take(folder / ANSWER)
        if answer is not None and answer.get("id") == wish:
            if not answer["taken"]:
                raise StationError(str(answer["message"]))
            return str(answer["message"])
        running(folder)
        time.sleep(0.1)
    raise StationError(f"{folder}: the inspector did not answer within {PATIENCE_S:.0f} s; look into its record, table events")


def _take(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        file.unlink()
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _named(judge: Judge) -> str:
    spec = judge.bundle.spec
    return f"{spec.name} version {spec.version} ({judge.precision} on {judge.engine.name})"
