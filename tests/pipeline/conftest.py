from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.sample import Sample

MakeFiles = Callable[[Path, Sequence[str]], None]


def _write_pictures(root: Path, names: Sequence[str]) -> None:
    """Each picture is noise of its own, so that no two look alike."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(number).integers(0, 255, (40, 56, 3), np.uint8)
        assert cv2.imwrite(str(file), picture)


@pytest.fixture
def write_pictures() -> MakeFiles:
    return _write_pictures


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """24 groups of two pictures in our own layout: 12 good groups, six each of two defect types."""
    root = tmp_path / "parts"
    names = [f"good/g{part:02d}_{view}.png" for part in range(12) for view in "ab"]
    names += [f"defective/{kind}/{kind}{part}_{view}.png" for kind in ("dent", "crack") for part in range(6) for view in "ab"]
    _write_pictures(root, names)
    rows = [f"{name},{Path(name).stem[:-2]}" for name in names]
    (root / "groups.csv").write_text("file,group\n" + "\n".join(rows) + "\n")
    return root


def sample(group: str, defect_type: str = "", number: int = 0) -> Sample:
    return Sample(
        "/data", f"{group}/{number}.png", "defective" if defect_type else "good", defect_type, group, sha256=f"{group}{number}"
    )
