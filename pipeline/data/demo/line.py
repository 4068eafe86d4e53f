"""The built-in demo line: a rendered data set and a conveyor video with ground truth, so that everything can be tried at once.

Seeded: the same arguments write the same pictures, byte for byte.
"""

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import yaml

from deploy.errors import DatasetError
from deploy.preprocess import Picture
from pipeline.data.demo.conveyor import FPS, HEIGHT, WIDTH, plan_conveyor, render_frames
from pipeline.data.demo.defects import DEFECT_TYPES
from pipeline.data.demo.stills import made_part, plan_lot, take_still

__all__ = ["DEFECT_TYPES", "write_conveyor", "write_demo_dataset", "write_demo_line"]

Progress = Callable[[int, int], None]
"""Called with how many pictures are done, and how many there will be."""


def write_demo_line(
    directory: Path, parts: int = 160, types: Sequence[str] = DEFECT_TYPES, seed: int = 0, progress: Progress | None = None
) -> None:
    """Write the dataset, and the video of other parts of the same line into its folder `conveyor`."""
    with _set_in_place(directory) as beside:
        write_demo_dataset(beside, parts, types=types, seed=seed, progress=progress)
        write_conveyor(beside / "conveyor", types=types, seed=seed + 1000, progress=progress)


def write_demo_dataset(
    directory: Path,
    parts: int = 160,
    exposures: int = 3,
    defective_share: float = 0.45,
    types: Sequence[str] = DEFECT_TYPES,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Write `parts` x `exposures` stills with masks, groups and a data set description.

    Raises DatasetError for an unknown type, numbers that leave a class empty, or a directory that holds something already.
    """
    lot = plan_lot(parts, defective_share, types, seed)
    if exposures < 1:
        raise DatasetError(f"{exposures} exposures per part; choose 1 or more")
    with _set_in_place(directory) as beside:
        rows = []
        for part in lot:
            made = made_part(seed, part)
            folder = f"defective/{part.defect_type}" if part.defect_type else "good"
            for exposure in range(exposures):
                picture, mask = take_still(seed, part.index, made, exposure)
                name = f"{part.name}_{exposure}.png"
                _write_png(beside / folder / name, picture)
                if part.defect_type:
                    _write_png(beside / "masks" / part.defect_type / name, mask)
                rows.append((f"{folder}/{name}", part.name, exposure))
                if progress:
                    progress(len(rows), parts * exposures)
        _write_csv(beside / "groups.csv", ("file", "group", "exposure"), rows)
        about = {
            "name": "demo-line",
            "licence": "CC0-1.0",
            "description": f"Rendered flange plates on a conveyor belt: {parts} parts, {exposures} exposures each, seed {seed}.",
            "slices": ["exposure"],
        }
        (beside / "dataset.yaml").write_text(yaml.safe_dump(about, sort_keys=False, width=1000), encoding="utf-8")


def write_conveyor(
    directory: Path,
    parts: int = 24,
    defective_share: float = 0.4,
    types: Sequence[str] = DEFECT_TYPES,
    seed: int = 1000,
    progress: Progress | None = None,
) -> None:
    """Write `belt.avi` (MJPG) and `truth.csv`: what passed, in order of arrival, and in which frames it was wholly in view.

    Raises DatasetError as `write_demo_dataset` does, and where this OpenCV cannot write MJPG.
    """
    conveyor = plan_conveyor(plan_lot(parts, defective_share, types, seed), seed)
    with _set_in_place(directory) as beside:
        # OpenCV's own writer: FFmpeg's takes no quality and blurs hairlines away.
        video = cv2.VideoWriter(
            str(beside / "belt.avi"), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT)
        )
        if not video.isOpened():
            raise DatasetError("this OpenCV cannot write MJPG into .avi; install opencv-python from its wheel")
        try:
            video.set(cv2.VIDEOWRITER_PROP_QUALITY, 93)
            for done, frame in enumerate(render_frames(conveyor), start=1):
                video.write(frame)
                if progress:
                    progress(done, len(conveyor.travel))
        finally:
            video.release()
        truth = [
            (
                passage.part.name,
                "defective" if passage.part.defect_type else "good",
                passage.part.defect_type or "",
                passage.first_frame,
                passage.last_frame,
            )
            for passage in conveyor.passages
        ]
        _write_csv(beside / "truth.csv", ("part", "label", "defect_type", "first_frame", "last_frame"), truth)


@contextmanager
def _set_in_place(directory: Path) -> Iterator[Path]:
    """A folder beside the final one, renamed to it when the block succeeds: nothing half-written carries the final name."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DatasetError(f"{directory} exists and is not an empty folder; choose another one, or delete it first")
    beside = directory.with_name(directory.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)  # left by a run that was killed
    beside.mkdir(parents=True)
    try:
        yield beside
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    if directory.exists():
        directory.rmdir()
    beside.rename(directory)


def _write_png(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    assert done, path
    path.write_bytes(data.tobytes())  # imwrite does not take every path, and does not say so


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
