import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import deploy
from deploy.cameras import Frame
from deploy.errors import StationError
from deploy.inspector.annotate import COLOURS, HEAT, annotate, not_ready
from deploy.inspector.film import Pictures, Video
from deploy.inspector.locate import Box, Sighting
from deploy.inspector.part import PartSoFar, View
from deploy.inspector.step import Seen
from deploy.inspector.tally import Tally
from deploy.inspector.window import Window
from deploy.preprocess import Picture, Preprocessing
from deploy.verdict import Thresholds, Verdict

SPEC = Preprocessing(height=64, width=64, pad_bgr=(0, 0, 0))
DARK = np.full((500, 700, 3), 60, np.uint8)
STRIP = 22  # pixels above the picture, for the counts


def seen(probability: float | None, heatmap: np.ndarray | None = None) -> Seen:
    box, window = Box(200, 150, 200, 180), Box(172, 112, 256, 256)
    view = View(1, "frame 1", 5.0, probability, None, None if probability is not None else "failed")
    part = PartSoFar(1, Thresholds(accept=0.3, reject=0.6))
    part.add(view)
    return Seen(1, Sighting(box, window, whole=True), view, part.result(), heatmap)


def share(picture: Picture, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture.astype(int) - colour).max(axis=2) < 12).sum())


@pytest.mark.parametrize(
    ("probability", "verdict"),
    [(0.1, Verdict.GOOD), (0.5, Verdict.REVIEW), (0.9, Verdict.DEFECTIVE), (None, Verdict.FAULT)],
)
def test_a_part_is_framed_in_the_colour_of_its_verdict(probability: float | None, verdict: Verdict) -> None:
    before = DARK.copy()
    drawn = annotate(DARK, [seen(probability)], Tally(), SPEC)
    assert drawn.shape == (500 + STRIP, 700, 3)
    assert share(drawn[100:360], COLOURS[verdict]) > 2 * (200 + 180)
    np.testing.assert_array_equal(DARK, before)


def test_the_defect_is_outlined_where_it_is() -> None:
    heatmap = np.zeros((8, 8), np.float32)
    heatmap[6, 1] = 1  # lower left of the window
    drawn = annotate(DARK, [seen(0.9, heatmap)], Tally(), SPEC)
    rows, columns = np.nonzero(np.abs(drawn[STRIP:].astype(int) - HEAT).max(axis=2) < 40)
    assert rows.size > 30
    assert (rows.mean(), columns.mean()) == pytest.approx((112 + 6.5 * 32, 172 + 1.5 * 32), abs=6)


def test_a_small_picture_is_enlarged_until_it_can_be_read() -> None:
    assert annotate(DARK[:64, :64], [], Tally(), SPEC).shape == (384 + STRIP, 384, 3)


def test_a_lost_camera_is_shown_as_such() -> None:
    assert share(not_ready(Tally()), COLOURS[Verdict.FAULT]) > 5000


def frame(name: str) -> Frame:
    return Frame(DARK, 0.0, 1, name)


def test_pictures_keep_their_names_and_folders(tmp_path: Path) -> None:
    film = Pictures(tmp_path)
    for name in ("a.png", "b/a.bmp", "a.tif"):
        film.add(frame(name), DARK)
    film.close()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg")) == ["a.jpg", "a.tif.jpg", "b/a.jpg"]


def test_a_picture_that_cannot_be_saved_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    film = Pictures(tmp_path)
    film.add(frame("a.png"), DARK)
    assert film.unsaved == 1


def test_a_film_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    film = Video(tmp_path, fps=10)
    film.add(frame("frame 1"), DARK)
    film.add(frame("frame 2"), DARK[:100, :100].copy())
    assert not (tmp_path / "annotated.mp4").exists()
    film.close()
    capture = cv2.VideoCapture(str(tmp_path / "annotated.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["annotated.mp4"]


FILMING = """
import resource, sys
from pathlib import Path
import numpy as np
from deploy.cameras import Frame
from deploy.errors import StationError
from deploy.inspector.film import Video
film = Video(Path(sys.argv[1]), 25.0)
noise = np.random.default_rng(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for number in range(1, 41):
    film.add(Frame(None, 0.0, number, ""), noise.integers(0, 255, (360, 480, 3), np.uint8))
try:
    film.close()
except StationError as error:
    print(error)
"""


def test_a_film_that_a_full_disk_broke_off_does_not_get_its_name(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FILMING, str(tmp_path)],
        cwd=Path(deploy.__file__).parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "annotated.mp4: the film is not whole" in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == [".annotated.part.mp4"]


def test_a_film_of_nothing_leaves_no_file(tmp_path: Path) -> None:
    Video(tmp_path, None).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere windows need no DISPLAY")
@pytest.mark.parametrize(("display", "found"), [("", "DISPLAY is not set"), (":4077", "DISPLAY=:4077 cannot be opened")])
def test_a_window_without_a_screen_is_refused_before_opencv_aborts(
    display: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(StationError, match=f"--show needs a screen, but {found}"):
        Window(1)
