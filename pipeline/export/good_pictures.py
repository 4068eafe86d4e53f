"""What a station compares its own pictures with: the good ones that the model has never learned from."""

from collections.abc import Sequence

from deploy.preprocess import Preprocessing, read_picture
from deploy.reference import Distribution, GoodPictures, light_and_focus
from pipeline.export.gate import Reference

LEAST = 30
"""Quartiles of fewer pictures say nothing that an alarm could stand on."""


def good_pictures(held_out: Sequence[Reference], spec: Preprocessing) -> GoodPictures | None:
    """Light, focus and scores of the good pictures of the held-out splits; None where there are fewer than LEAST.

    Validation and test groups together: nothing is chosen by them here, and the more pictures, the narrower a station can watch.
    """
    good = [
        (sample.file, score)
        for split in held_out
        for sample, score in zip(split.samples, split.scores.tolist(), strict=True)
        if sample.label == "good"
    ]
    if len(good) < LEAST:
        return None
    looks = [light_and_focus(read_picture(file), spec) for file, _ in good]
    brightness, sharpness = zip(*looks, strict=True)
    return GoodPictures(
        brightness=Distribution.of(brightness),
        sharpness=Distribution.of(sharpness),
        score=Distribution.of([score for _, score in good]),
    )
