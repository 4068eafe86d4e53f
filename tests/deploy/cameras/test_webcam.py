"""Which webcam is meant, when numbers change. Real unplugging: `tests/integration/test_usb_unplug.py`."""

from pathlib import Path

import pytest

from deploy.cameras.webcam import Socket, number_of
from deploy.errors import CameraError


def plug(system: Path, number: int, socket: str, index: int = 0, name: str = "webcam") -> None:
    """As Linux shows it: /sys/class/video4linux/video0 has a link to the device in its socket."""
    entry = system / f"video{number}"
    entry.mkdir(parents=True)
    (system / socket).mkdir(exist_ok=True)
    (entry / "device").symlink_to(system / socket)
    (entry / "index").write_text(f"{index}\n")
    (entry / "name").write_text(f"{name}\n")


def unplug(system: Path, number: int) -> None:
    entry = system / f"video{number}"
    for file in entry.iterdir():
        file.unlink()
    entry.rmdir()


def test_a_webcam_that_comes_back_with_another_number_is_found(tmp_path: Path) -> None:
    plug(tmp_path, 0, "1-2:1.0")
    plug(tmp_path, 1, "1-2:1.0", index=1)  # its metadata
    plug(tmp_path, 4, "1-2:1.0", name="infrared")
    webcam = Socket("0", tmp_path)
    assert webcam.number() == webcam.number() == 0
    unplug(tmp_path, 0)
    unplug(tmp_path, 1)
    plug(tmp_path, 2, "1-2:1.0", index=1)
    plug(tmp_path, 3, "1-2:1.0")
    assert webcam.number() == 3


@pytest.mark.parametrize("way", ["", "/dev/video"])
def test_another_webcam_with_its_number_is_not_taken_for_it(way: str, tmp_path: Path) -> None:
    plug(tmp_path, 0, "1-2:1.0")
    plug(tmp_path, 1, "1-3:1.0")
    left, right = Socket(f"{way}0", tmp_path), Socket(f"{way}1", tmp_path)
    assert (left.number(), right.number()) == (0, 1)
    for number in (0, 1):
        unplug(tmp_path, number)
    plug(tmp_path, 0, "1-3:1.0")
    assert right.number() == 0
    with pytest.raises(CameraError, match=r"^usb:0: no webcam in the socket where it was; plug it in there, or restart"):
        left.number()
    plug(tmp_path, 1, "1-2:1.0")
    assert (left.number(), right.number()) == (1, 0)


def test_a_webcam_that_was_never_there_keeps_its_number_until_it_comes(tmp_path: Path) -> None:
    webcam = Socket("0", tmp_path / "none")
    assert webcam.number() == 0
    plug(tmp_path / "none", 0, "1-2:1.0")
    assert webcam.number() == 0


def test_what_is_no_webcam_is_refused(tmp_path: Path) -> None:
    for find in (number_of, lambda name: Socket(name).number()):
        with pytest.raises(CameraError, match="no such webcam; give a number or a path below /dev"):
            find(str(tmp_path))
