"""A folder that a real program drops pictures into: whole or torn, fast or slow, and gone for a while."""

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.cameras import Camera, Frame, Unreadable, open_camera, watched
from deploy.cameras.life import NothingYet
from deploy.cameras.newest import NewestOnly
from deploy.cameras.settings import CameraSettings
from deploy.cameras.state import State
from deploy.cameras.watched import Known, WatchedFolder, _look
from deploy.errors import CameraError, CameraLost


def encoded(shade: int, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, np.full((48, 64, 3), shade, np.uint8))[1].tobytes()


def drop(folder: Path, name: str, shade: int = 100) -> None:
    """As a careful program does: under another name first."""
    (folder / f"{name}.part").write_bytes(encoded(shade, Path(name).suffix))
    (folder / f"{name}.part").rename(folder / name)


def next_frame(camera: Camera, patience_s: float = 15) -> Frame:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            frame = camera.read()
        except (NothingYet, CameraLost):
            continue
        assert frame is not None
        return frame
    raise AssertionError("no picture came")


def read_until_lost(camera: Camera) -> str:
    while True:
        try:
            camera.read()
        except NothingYet:
            continue
        except CameraLost as error:
            return str(error)


def watch(folder: Path) -> WatchedFolder:
    return WatchedFolder(folder, Known())


def test_only_what_is_dropped_from_now_on_is_delivered(tmp_path: Path) -> None:
    drop(tmp_path, "old.png")
    with open_camera(f"watch:{tmp_path}") as camera:
        assert camera.live
        with pytest.raises(NothingYet):
            camera.read()
        before = time.monotonic()
        (tmp_path / "below").mkdir()
        drop(tmp_path / "below", "new.jpg", 100)
        frame = next_frame(camera)
        assert (frame.name, frame.sequence) == ("below/new.jpg", 1)
        assert abs(int(frame.picture.mean()) - 100) < 3
        assert before - 0.5 < frame.captured_at < time.monotonic()
        (tmp_path / "note.txt").write_text("no picture")
        (tmp_path / ".hidden.png").write_bytes(encoded(1))
        with pytest.raises(NothingYet):
            camera.read()


def test_a_file_that_is_written_anew_is_a_new_picture(tmp_path: Path) -> None:
    drop(tmp_path, "latest.png", 10)
    with watch(tmp_path) as camera:
        for shade in (20, 30):
            drop(tmp_path, "latest.png", shade)
            assert int(next_frame(camera).picture.mean()) == shade


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_a_file_that_is_still_being_written_is_waited_for(suffix: str, tmp_path: Path) -> None:
    data = encoded(100, suffix)

    def write_slowly() -> None:
        with (tmp_path / f"slow{suffix}").open("wb", buffering=0) as file:
            for start in range(0, len(data), len(data) // 4 + 1):
                file.write(data[start : start + len(data) // 4 + 1])
                time.sleep(0.15)

    with watch(tmp_path) as camera:
        began = time.monotonic()
        writer = threading.Thread(target=write_slowly)
        writer.start()
        frame = next_frame(camera)
        writer.join()
    assert frame.picture.shape == (48, 64, 3)
    assert abs(int(frame.picture.mean()) - 100) < 3
    assert frame.sequence == 1
    assert frame.captured_at < began + 0.2  # its age counts from its first byte


def test_a_file_that_never_becomes_a_picture_is_told_and_the_next_one_follows(tmp_path: Path) -> None:
    with watch(tmp_path) as camera:
        (tmp_path / "bad.png").write_bytes(encoded(1)[:50])
        with pytest.raises(Unreadable, match=r"bad\.png: the file is truncated") as caught:
            next_frame(camera)
        assert (caught.value.sequence, caught.value.name) == (1, "bad.png")
        drop(tmp_path, "good.png")
        assert next_frame(camera).name == "good.png"


def test_a_bad_file_holds_up_no_good_one(tmp_path: Path) -> None:
    with watch(tmp_path) as camera:
        drop(tmp_path, "1.png")
        assert next_frame(camera).sequence == 1
        (tmp_path / "bad.png").write_bytes(b"")
        time.sleep(0.1)
        drop(tmp_path, "good.png")
        frame = next_frame(camera)
        assert (frame.name, frame.sequence) == ("good.png", 3)  # the bad one is counted as one that a newer one overtook


def test_the_newest_comes_first_and_those_before_it_are_counted(tmp_path: Path) -> None:
    with watch(tmp_path) as camera:
        drop(tmp_path, "0.png")
        assert next_frame(camera).sequence == 1
        for number in range(1, 8):
            drop(tmp_path, f"{number}.png", 10 * number)
            os.utime(tmp_path / f"{number}.png", ns=(number * 10**9, number * 10**9))
        looked = time.monotonic()
        time.sleep(0.3)
        frame = next_frame(camera)
        assert (frame.name, frame.sequence) == ("7.png", 8)
        assert frame.captured_at <= looked  # it may have lain there all the time
        with pytest.raises(NothingYet):
            camera.read()


def test_what_is_taken_away_before_it_was_read_is_counted(tmp_path: Path) -> None:
    with watch(tmp_path) as camera:
        drop(tmp_path, "1.png")
        found = {"1.png": (0, 1)}
        camera._note(found, time.monotonic() - 1)
        camera._note({}, time.monotonic())
        (tmp_path / "1.png").unlink()
        drop(tmp_path, "2.png")
        assert next_frame(camera).sequence == 2


def test_every_picture_of_a_fast_program_is_judged_or_counted(tmp_path: Path) -> None:
    """Some 100 pictures in a second, from a process of its own, and a reader that takes 50 ms over each."""
    code = (
        "import sys, time, pathlib\nfolder, data = pathlib.Path(sys.argv[1]), bytes.fromhex(sys.argv[2])\n"
        "for number in range(100):\n    (folder / f'{number}.part').write_bytes(data)\n"
        "    (folder / f'{number}.part').rename(folder / f'{number:03}.png'); time.sleep(0.01)\n"
    )
    with open_camera(f"watch:{tmp_path}") as camera:
        assert isinstance(camera, NewestOnly)
        quiet = subprocess.DEVNULL
        command = [sys.executable, "-c", code, str(tmp_path), encoded(100).hex()]
        program = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            judged = 0
            end = time.monotonic() + 30
            while time.monotonic() < end:
                try:
                    frame = camera.read()
                except NothingYet:
                    continue
                assert frame is not None
                judged += 1
                if frame.name == "099.png":
                    break
                time.sleep(0.2)
            figures = camera.figures()
            assert figures.captured == 100
            assert judged + figures.dropped == 100
            assert figures.dropped > 0
        finally:
            program.kill()
            program.wait()


def test_a_folder_that_goes_and_comes_back(tmp_path: Path) -> None:
    folder, away = tmp_path / "drop", tmp_path / "away"
    folder.mkdir()
    drop(folder, "1.png")
    with open_camera(f"watch:{folder}") as camera:
        drop(folder, "2.png")
        assert next_frame(camera).name == "2.png"
        folder.rename(away)
        gone_at = time.monotonic()
        assert "No such file or directory; check the folder, or the share it is on" in read_until_lost(camera)
        assert time.monotonic() - gone_at < 4
        away.rename(folder)  # as it was: what was seen already is not new
        back_at = time.monotonic()
        assert isinstance(camera, NewestOnly)
        while camera.figures().state is not State.STREAMING:
            time.sleep(0.01)
        drop(folder, "3.png", 77)
        frame = next_frame(camera)
        assert (frame.name, int(frame.picture.mean())) == ("3.png", 77)
        assert frame.captured_at > back_at
        assert time.monotonic() - back_at < 4


def test_a_folder_that_goes_in_the_midst_of_a_look(tmp_path: Path) -> None:
    folder, away = tmp_path / "drop", tmp_path / "away"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.png").write_bytes(encoded(100))
    known, over = Known(), threading.Event()
    camera = WatchedFolder(folder, known)

    def goes_and_comes() -> None:
        for _ in range(60):
            folder.rename(away)
            time.sleep(0.02)
            away.rename(folder)
            time.sleep(0.02)
        over.set()

    thread = threading.Thread(target=goes_and_comes)
    thread.start()
    while not over.is_set():
        try:
            frame = camera.read()
            raise AssertionError(f"{frame and frame.name} is old")
        except NothingYet:
            continue
        except CameraError:
            with suppress(CameraError):
                camera = WatchedFolder(folder, known)
    thread.join()
    drop(folder, "new.png")
    assert next_frame(WatchedFolder(folder, known)).name == "new.png"


def test_a_removed_folder_that_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    with open_camera(f"watch:{folder}") as camera:
        for number in range(2):
            drop(folder, f"{number}.png")
            assert next_frame(camera).name == f"{number}.png"
            shutil.rmtree(folder)
            read_until_lost(camera)
            folder.mkdir()
            time.sleep(0.5)


@pytest.mark.parametrize(("limit_s", "look_s"), [(0.5, 0.0), (1.0, 0.0), (2.0, 0.33)])
def test_an_empty_folder_is_no_silence_whatever_the_limit_and_the_share(
    limit_s: float, look_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(folder: Path) -> dict[str, tuple[int, int]]:
        time.sleep(look_s)
        return _look(folder)

    monkeypatch.setattr(watched, "_look", look)
    states: list[State] = []
    with open_camera(f"watch:{tmp_path}", limit_s=limit_s, listener=lambda change: states.append(change.after)):
        time.sleep(4)
        seen = states[:]
    assert seen[0] is State.STREAMING
    assert seen[-1] is State.STREAMING
    assert seen.count(State.STALLED) <= 1  # a loaded machine may be late once


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, message in (("nowhere", "No such file or directory"), ("file", "Not a directory")):
        with pytest.raises(CameraError, match=f"{message}; expected a folder that pictures are dropped into"):
            open_camera(f"watch:{tmp_path / name}")
    with pytest.raises(CameraError, match="exposure cannot be set here"):
        open_camera(f"watch:{tmp_path}", settings=CameraSettings(exposure=100))


def test_pictures_are_turned(tmp_path: Path) -> None:
    with open_camera(f"watch:{tmp_path}", settings=CameraSettings(rotation=90)) as camera:
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[0, 0] = 255
        cv2.imwrite(str(tmp_path / "1.png"), picture)
        frame = next_frame(camera)
    assert frame.picture.shape == (64, 48, 3)
    assert (frame.picture[0, -1] == 255).all()


def test_closing_ends_a_read(tmp_path: Path) -> None:
    camera = watch(tmp_path)
    camera.close()
    camera.close()
    with pytest.raises(CameraLost, match="is closed"):
        camera.read()
