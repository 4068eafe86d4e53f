"""The rules of a session, as tables and for any sequence of keys."""

import csv
import re
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.cameras import Camera, Frame
from deploy.capture.collection import Collection
from deploy.capture.in_hand import InHand
from deploy.capture.keys import keys_for
from deploy.capture.labelling import Labelling
from deploy.capture.session import label
from deploy.capture.status import Status
from deploy.errors import CameraLost
from deploy.preprocess import Picture


class Frames(Camera):
    """Delivers numbered frames; a number in `lost` is a moment without one."""

    def __init__(self, count: int, live: bool = False, lost: tuple[int, ...] = ()) -> None:
        self.live = live
        self.fps = None
        self._count = count
        self._lost = lost
        self._sequence = 0

    def read(self) -> Frame | None:
        self._sequence += 1
        if self._sequence in self._lost:
            raise CameraLost("unplugged")
        if self._sequence > self._count:
            return None
        checks = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((2, 2))) * self._sequence
        picture = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
        return Frame(picture, time.monotonic(), self._sequence, f"frame {self._sequence}")

    def close(self) -> None:
        pass


class Keys:
    """Presses one key after the other and remembers what it was shown."""

    def __init__(self, keys: str, scripted: bool = True) -> None:
        self.scripted = scripted
        self.shown: list[Status] = []
        self._keys = iter(keys)

    def next_key(self, picture: Picture | None, status: Status) -> str | None:
        self.shown.append(status)
        return next(self._keys, "q")


def session(folder: Path, keys: str, camera: Camera, min_sharpness: float = 0) -> tuple[Labelling, list[Status]]:
    interface = Keys(keys)
    with closing(Collection(folder)) as collection:
        labelling = Labelling(collection, min_sharpness)
        label(InHand(camera), labelling, keys_for(("scratch", "dent"), not camera.live), interface, lambda: False)
    return labelling, interface.shown


@pytest.mark.parametrize(
    ("keys", "parts", "summary"),
    [
        ("", [], "no pictures were taken"),
        ("g", [(1, "good")], "1 picture of 1 part: 1 good, 0 defective in"),
        ("ggng", [(1, "good"), (1, "good"), (2, "good")], "3 pictures of 2 parts: 3 good, 0 defective in"),
        ("nngn", [(1, "good")], "1 picture of 1 part"),  # parts without pictures are none
        (
            "g1d",
            [(1, "good"), (1, "defective/scratch"), (1, "defective/defective")],
            "1 good, 2 defective (1 defective, 1 scratch)",
        ),
        ("g1u2", [(1, "good"), (1, "defective/dent")], "1 good, 1 defective (1 dent)"),
        ("gnu", [], "no pictures were taken"),
        ("gnug", [(1, "good")], "1 picture of 1 part"),  # what is taken anew belongs to the part it was undone from
        ("uug", [(1, "good")], "1 picture"),
        ("gqg", [(1, "good")], "1 picture"),
        ("s3x", [], "no pictures were taken"),
    ],
)
def test_what_keys_do(keys: str, parts: list[tuple[int, str]], summary: str, tmp_path: Path) -> None:
    labelling, _ = session(tmp_path, keys, Frames(9))
    assert [(one.part, one.kind) for one in labelling.taken] == parts
    assert summary in labelling.summary()


@pytest.mark.parametrize(
    ("keys", "said", "alarm"),
    [
        ("x", "the key 'x' does nothing here", True),
        ("u", "nothing to undo", True),
        ("n", "part 1 has no pictures yet", True),
        ("gn", "part 2 begins", False),
        ("s", "skipped: frame 1", False),
        ("ggggg", "there are no more pictures", True),
    ],
)
def test_every_key_is_answered(keys: str, said: str, alarm: bool, tmp_path: Path) -> None:
    _, shown = session(tmp_path, keys, Frames(4))
    assert said in shown[-1].last.text
    assert shown[-1].last.alarm == alarm


@pytest.mark.parametrize(
    ("keys", "scripted", "count"),
    [("gggg", True, 0), ("gggggsnd", True, 3), ("ggggggugg", True, 4), ("ggggggg", False, 0)],
)
def test_a_script_with_more_keys_than_pictures_is_told(keys: str, scripted: bool, count: int, tmp_path: Path) -> None:
    with closing(Collection(tmp_path)) as collection:
        labelling = Labelling(collection)
        label(InHand(Frames(4)), labelling, keys_for((), True), Keys(keys, scripted), lambda: False)
    assert labelling.not_done == ["there are no more pictures"] * count


def test_the_status_says_what_the_next_key_will_join(tmp_path: Path) -> None:
    _, shown = session(tmp_path, "g1n", Frames(4))
    assert [status.part for status in shown] == [
        "part 1: no pictures yet",
        "part 1: 1 good",
        "part 1: 1 good, 1 scratch (good and defective)",
        "part 2: no pictures yet",
    ]
    assert shown[-1].counts == "in all: 1 good, 1 scratch"
    assert shown[0].picture.startswith("sharpness ")


def test_blurred_pictures_are_refused_with_the_measured_value_and_passed_over(tmp_path: Path) -> None:
    labelling, shown = session(tmp_path, "ggg", Frames(9), min_sharpness=5)
    assert re.fullmatch(r"refused: sharpness [0-4] of frame 1 is below 5", shown[1].last.text)
    assert [one.sequence for one in labelling.taken] == [2, 3]


def test_no_frame_is_taken_twice(tmp_path: Path) -> None:
    labelling, _ = session(tmp_path, "gggg", Frames(99, live=True))
    sequences = [one.sequence for one in labelling.taken]
    assert sequences == sorted(set(sequences))


def test_a_script_ends_with_its_camera_and_keeps_what_it_took(tmp_path: Path) -> None:
    with pytest.raises(CameraLost, match="unplugged"):
        session(tmp_path, "ggg", Frames(9, live=True, lost=(3,)))
    with closing(Collection(tmp_path)) as collection:
        assert collection.counts()["good"] >= 1


def test_who_watches_waits_for_the_camera_and_labels_nothing_meanwhile(tmp_path: Path) -> None:
    interface = Keys("ggg", scripted=False)
    with closing(Collection(tmp_path)) as collection:
        labelling = Labelling(collection)
        camera = Frames(9, live=True, lost=(2,))
        label(InHand(camera), labelling, keys_for((), False), interface, lambda: False)
    assert [one.sequence for one in labelling.taken] == [1, 3]
    assert interface.shown[1].picture == "NO PICTURE: unplugged"
    assert not interface.shown[1].ready
    assert interface.shown[2].last.text == "nothing to label: unplugged"


def test_a_full_disk_is_said_and_the_same_picture_can_be_taken_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter([OSError(28, "No space left on device"), None, None])

    def write(path: Path, data: bytes) -> None:
        if error := next(calls):
            raise error
        path.write_bytes(data)

    monkeypatch.setattr("deploy.capture.collection.write_bytes_whole", write)
    labelling, shown = session(tmp_path, "gg", Frames(9))
    assert shown[1].last.text.startswith("NOT SAVED: good/")
    assert "No space left on device" in labelling.not_done[0]
    assert [one.sequence for one in labelling.taken] == [1]


KEYS = st.text(st.sampled_from("ggd12nuusx"), max_size=14)


@given(st.lists(KEYS, min_size=1, max_size=3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_keys_leave_each_picture_with_exactly_one_line(sessions: list[str], live: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = []
        for keys in sessions:
            labelling, shown = session(folder, keys, Frames(20, live))
            taken += labelling.taken
            assert sum(map(int, "".join(c if c.isdigit() else " " for c in shown[-1].counts).split())) == len(taken)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
        assert files == sorted(one.file for one in taken)
        table = folder / "groups.csv"
        with table.open(newline="", encoding="utf-8") if table.exists() else tempfile.TemporaryFile("w+") as file:
            rows = list(csv.DictReader(file))
        assert sorted((row["file"], row["group"]) for row in rows) == sorted((one.file, one.group) for one in taken)
        with closing(Collection(folder)) as collection:
            assert collection.notes == []
            assert collection.counts() == dict(Counter(one.kind for one in taken))
