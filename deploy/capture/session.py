"""One session of capturing: open the source and the collection, choose an interface, turn keys into labelled pictures."""

import os
import stat
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.addresses import shown
from deploy.cameras import Camera, open_camera
from deploy.capture.collection import Collection
from deploy.capture.in_hand import InHand
from deploy.capture.keys import Command, Key, find, keys_for
from deploy.capture.labelling import Labelling, Message
from deploy.capture.screen import Screen
from deploy.capture.status import NO_MORE, Interface, status_of
from deploy.capture.terminal import Terminal
from deploy.errors import CameraLost, DatasetError, StationError
from deploy.inspector.window import has_screen, no_screen
from deploy.station import CameraSection, is_station, load_station
from deploy.stop import stop_on_signal


@dataclass(frozen=True)
class Settings:
    """What the user asked for."""

    source: str
    """A picture source, or a `station.yaml` that names some."""
    folder: Path
    types: tuple[str, ...]
    min_sharpness: float
    terminal: bool
    camera: str | None = None
    """The name of one of the station's cameras; it may be left out where there is only one."""


def run_capture(settings: Settings, console: Console) -> None:
    """Label pictures until the user ends; what was taken stays whatever happens.

    Raises StationError, CameraError or DatasetError before the first picture when something is not as it must be; CameraLost
    when a script's camera is lost; DatasetError at the end when pictures could not be saved, or a script had more keys than
    there were pictures.
    """
    wanted, station = _wanted(settings)
    _check_apart(wanted.source, settings.folder)
    wants_window = _wants_window(settings.terminal)

    with ExitStack() as stack:
        camera = stack.enter_context(_open(wanted))
        collection = Collection(settings.folder, station)
        stack.callback(collection.close)
        for note in collection.notes:
            console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
        labelling = Labelling(collection, settings.min_sharpness)
        keys = keys_for(settings.types, steps=not camera.live)
        stopping = stack.enter_context(stop_on_signal())
        interface: Interface
        try:
            with ExitStack() as opened:
                if wants_window:
                    interface = screen = Screen(keys)
                    opened.callback(screen.close)
                else:
                    interface = opened.enter_context(Terminal(sys.stdin.fileno(), console))
                label(InHand(camera), labelling, keys, interface, stopping.is_set)
        finally:
            console.print(labelling.summary(), highlight=False, markup=False, soft_wrap=True)
    if labelling.not_done:
        count = len(labelling.not_done)
        raise DatasetError(
            f"{count} {'key was' if count == 1 else 'keys were'} not carried out; the last: {labelling.not_done[-1]}"
        )


def label(
    in_hand: InHand, labelling: Labelling, keys: tuple[Key, ...], interface: Interface, is_stopping: Callable[[], bool]
) -> None:
    """Do what the keys say until one ends it or `is_stopping` says so. Raises CameraLost for a script whose camera is lost."""
    last = Message("  ".join(f"{key.key} {key.text}" for key in keys))
    while not is_stopping():
        in_hand.look()
        if in_hand.skipped:
            last, in_hand.skipped = Message(f"left out: {in_hand.skipped}", alarm=True), None
        picture = in_hand.shown.picture if in_hand.shown is not None else None
        pressed = interface.next_key(picture, status_of(labelling, in_hand, last))
        if pressed is None:
            continue
        key = find(keys, pressed)
        if key is None:
            last = Message(f"the key {pressed!r} does nothing here", alarm=True)
        elif key.does is Command.END:
            return
        elif key.does is Command.NEXT:
            last = labelling.next_part()
        elif key.does is Command.UNDO:
            last, undone = labelling.undo()
            if undone is not None:
                in_hand.back_to(undone.sequence)
        else:
            if interface.scripted:
                _wait_for_picture(in_hand, is_stopping)
                if in_hand.ended and not in_hand.fresh:
                    labelling.not_done.append(NO_MORE)
            last = _use(in_hand, labelling, key)


def _use(in_hand: InHand, labelling: Labelling, key: Key) -> Message:
    """Take or skip the picture in hand."""
    if in_hand.shown is None or not in_hand.fresh:
        why = in_hand.trouble or (NO_MORE if in_hand.ended else "this picture is taken; wait for the next")
        return Message(f"nothing to label: {why}", alarm=True)
    if isinstance(key.does, Command):
        in_hand.done()
        return Message(f"skipped: {in_hand.shown.name}")
    said, is_done = labelling.take(in_hand.shown, key.does, in_hand.sharpness)
    if is_done:
        in_hand.done()
    return said


def _wait_for_picture(in_hand: InHand, is_stopping: Callable[[], bool]) -> None:
    while not (in_hand.fresh or in_hand.ended or is_stopping()):
        if in_hand.trouble:
            raise CameraLost(in_hand.trouble)
        in_hand.look()
        time.sleep(0 if in_hand.fresh else 0.005)


def _wanted(settings: Settings) -> tuple[CameraSection, str | None]:
    """The camera, set as in the station, and the station's name where there is one. Raises StationError."""
    if not is_station(settings.source):
        if settings.camera is not None:
            raise StationError(f"--camera chooses from a station.yaml, but {shown(settings.source)} is none; leave --camera out")
        return CameraSection.model_construct(source=settings.source), None
    station = load_station(Path(settings.source))
    chosen = [camera for camera in station.cameras if settings.camera in (None, camera.name)]
    if len(chosen) == 1:
        return chosen[0], station.name
    names = ", ".join(camera.name for camera in station.cameras)
    if chosen:
        raise StationError(f"{settings.source}: has several cameras; choose one with --camera: {names}")
    there = f"expected {names}" if names else "its only camera has no name; leave --camera out"
    raise StationError(f"{settings.source}: no camera is called {settings.camera!r}; {there}")


def _open(wanted: CameraSection) -> Camera:
    camera = open_camera(wanted.source, settings=wanted.settings, limit_s=wanted.limit_s)
    if camera.live or camera.fps is None:
        return camera
    camera.close()
    return open_camera(wanted.source, realtime=True, settings=wanted.settings)  # a film passes by as the line would


def _wants_window(terminal: bool) -> bool:
    """A window where there is a screen, else keys from the terminal; from a pipe where keys are piped in.

    Raises StationError where no key could ever arrive.
    """
    kind = os.fstat(sys.stdin.fileno()).st_mode if sys.stdin is not None else 0
    if stat.S_ISFIFO(kind) or stat.S_ISREG(kind) or stat.S_ISSOCK(kind):
        return False
    if not terminal and has_screen():
        return True
    if kind and sys.stdin.isatty():
        return False
    no_window = "--terminal was given" if terminal else no_screen()
    raise StationError(
        f"no keys can be pressed: {no_window}, and standard input is neither a terminal nor a pipe; "
        "run it in a terminal or on a desktop, or pipe keys in: printf 'g g n d q' | inspector capture ..."
    )


def _check_apart(source: str, folder: Path) -> None:
    origin, target = Path(source).resolve(), folder.resolve()
    if origin.is_dir() and (origin == target or origin in target.parents or target in origin.parents):
        raise StationError(
            f"{folder} and the source {source} lie in each other, so captured pictures and others would mix; give another folder"
        )
