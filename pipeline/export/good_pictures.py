"""What a station compares its own pictures with: the good ones that the model has never learned from."""

from collections.abc import Sequence

from deploy.preprocess import Preprocessing, read_picture
from deploy.reference import Distribution, GoodPictures, light_and_focus
from pipeline.export.gate import Reference

LEAST = 30
"""Quartiles of fewer groups say nothing that an alarm could stand on: the pictures of one group are alike."""


def good_pictures(held_out: Sequence[Reference], spec: Preprocessing) -> GoodPictures | None:
    """Light and focus of the good pictures of the held-out splits; None where they are of fewer than LEAST groups.

    Validation and test groups together: nothing is chosen by them here, and the more groups, the narrower a station can watch.
    """
    good = [sample for split in held_out for sample in split.samples if sample.label == "good"]
    groups = len({sample.group for sample in good})
    if groups < LEAST:
        return None
    brightness, sharpness = zip(*(light_and_focus(read_picture(sample.file), spec) for sample in good), strict=True)
    return GoodPictures(brightness=Distribution.of(brightness, groups), sharpness=Distribution.of(sharpness, groups))
