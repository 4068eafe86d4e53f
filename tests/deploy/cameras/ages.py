"""How old frames are."""

import time

from deploy.cameras import Camera


def youngest_s(camera: Camera, reads: int = 5) -> float:
    """The least age of several frames when they are handed out, in seconds: a busy machine makes some of them wait."""
    ages = []
    for _ in range(reads):
        frame = camera.read()
        assert frame is not None
        ages.append(time.monotonic() - frame.captured_at)
    return min(ages)
