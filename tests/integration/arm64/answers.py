"""What a bundle's models answer on this machine, as a program that also runs where there are no tests: BUNDLE PICTURES OUT."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deploy.bundle import load_bundle
from deploy.engines import open_engine
from deploy.preprocess import letterbox, read_picture


def answers(bundle_path: Path, pictures: Path) -> dict[str, npt.NDArray[np.generic]]:
    """The N x H x W x 3 `frames`, of the bundle's golden pictures and then of a folder of PNG, and N x C answers by precision."""
    bundle = load_bundle(bundle_path)
    read = [letterbox(read_picture(file), bundle.spec.preprocessing) for file in sorted(pictures.glob("*.png"))]
    frames = np.concatenate([bundle.golden().frames, np.stack(read)])
    found: dict[str, npt.NDArray[np.generic]] = {"frames": frames}
    for precision in bundle.spec.models:
        engine = open_engine(bundle, precision)
        found[precision] = np.concatenate([engine.infer(frame[None]).probability for frame in frames])
    return found


if __name__ == "__main__":
    np.savez(sys.argv[3], allow_pickle=False, **answers(Path(sys.argv[1]), Path(sys.argv[2])))
