"""Inside the emulated machine: `inspector run` at a camera that is disconnected, unplugged and silent, and each time comes back.

A program: FOLDER, with `station.yaml`. It leaves there the record, what the inspector said (`said.txt`), and in `done.json` what
was done to the camera when, in UTC seconds of this machine.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[3]
RECORD = Path("/run/record")  # in memory: SQLite wants more of a file system than one over a wire can do
CAMERA = Path("/dev/video0")
DRIVER, DEVICE = Path("/sys/bus/platform/drivers/vivid"), "vivid.0"
WHITE = {"test_pattern": 5}
SILENT, SPEAKING = {"percentage_of_dropped_buffers": 100}, {"percentage_of_dropped_buffers": 0}
OUTAGE_S = 3.5
PATIENCE_S = 120
BEAT_S = 0.05


class Marks:
    """What was done when."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def __call__(self, name: str) -> None:
        self.times[name] = time.time()
        print(f"{time.monotonic():.2f} {name}", flush=True)


class Beat:
    """A thread that wants to wake up regularly, and by how much it was late at worst."""

    def __init__(self) -> None:
        self.late_s = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            time.sleep(BEAT_S)
            self.late_s = max(self.late_s, time.monotonic() - began - BEAT_S)


def main(work: Path) -> None:
    """Play it all."""
    marks = Marks()
    set_controls(CAMERA, WHITE)
    command = [sys.executable, "-m", "deploy.cli", "run", str(work / "station.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INSPECTOR_CACHE": "/run/cache", "COLUMNS": "200"}
    marks("white")
    with (work / "said.txt").open("w") as said:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
    try:
        late_s = play(process, marks)
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        if RECORD.is_dir():
            shutil.copytree(RECORD, work / "record")
    silent_read_s = read_silent()
    (work / "done.json").write_text(
        json.dumps({"marks": marks.times, "late_s": late_s, "code": code, "silent_read_s": silent_read_s})
    )


def play(process: "subprocess.Popen[bytes]", marks: Marks) -> float:
    """All outages; by how much this machine was late meanwhile."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert process.poll() is None, "the inspector ended by itself"
            assert time.monotonic() < end, f"waited in vain after {list(marks.times)[-1]}"
            time.sleep(0.2)

    def outage(number: int, end: Callable[[], object], mark: str) -> None:
        """Leave it like this for a while, then end it and wait until the inspector is at work again."""
        wait(lambda: outages() == number)
        time.sleep(OUTAGE_S)
        before = verdicts()
        end()
        marks(mark)
        wait(lambda: verdicts() >= before + 5)

    wait(lambda: verdicts() >= 5)
    beat = Beat()
    holder = os.open(CAMERA, os.O_RDONLY)  # vivid puts a disconnected camera right as soon as nobody has it open
    marks("disconnecting")
    set_controls(CAMERA, {"disconnect": 1})
    marks("disconnected")
    outage(1, lambda: os.close(holder), "connected")

    holder = os.open(CAMERA, os.O_RDONLY)  # its number stays taken: it must come back with another one
    marks("unplugging")
    (DRIVER / "unbind").write_text(DEVICE)
    marks("unplugged")
    outage(2, lambda: (DRIVER / "bind").write_text(DEVICE), "plugged in")
    os.close(holder)
    camera = min(nodes())
    assert camera != CAMERA

    marks("silencing")
    set_controls(camera, SILENT)
    marks("silent")
    wait(lambda: outages() == 3)
    set_controls(camera, WHITE)
    outage(3, lambda: set_controls(camera, SPEAKING), "speaks")
    marks("ending")
    return beat.late_s


def read_silent() -> float:
    """How long the last read of a camera takes that has fallen silent."""
    sys.path.insert(0, str(ROOT))
    from deploy.cameras.video import LiveVideo
    from deploy.errors import CameraLost

    node = min(nodes())
    camera = LiveVideo(int(node.name.removeprefix("video")))
    set_controls(node, SILENT)
    try:
        while True:
            began = time.monotonic()
            camera.read()
    except CameraLost:
        return time.monotonic() - began


def nodes() -> list[Path]:
    """The cameras that are there."""
    return list(Path("/dev").glob("video*"))


def set_controls(node: Path, values: dict[str, int]) -> None:
    """Set vivid's controls; they have their effect when this returns."""
    words = [f"--set-ctrl={name}={value}" for name, value in values.items()]
    subprocess.run(["v4l2-ctl", f"--device={node}", *words], stdin=subprocess.DEVNULL, check=True)


def verdicts() -> int:
    """How many there are by now."""
    return count("SELECT count(*) FROM parts WHERE verdict != 'FAULT'")


def outages() -> int:
    """How many there were by now."""
    return count("SELECT count(*) FROM faults WHERE kind = 'camera'")


def count(query: str) -> int:
    """What a running inspector's record answers."""
    store = RECORD / "store.sqlite"
    if not store.exists():
        return 0
    with closing(sqlite3.connect(store)) as database:
        try:
            return int(database.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # it is just being created
            return 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
