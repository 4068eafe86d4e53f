"""What good pictures were like where a bundle was judged: a station compares its own light and focus with them."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from deploy.preprocess import Picture, Preprocessing, fitted
from deploy.sharpness import sharpness

STEPS = 20


class Distribution(BaseModel):
    """How one figure was spread over some pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=1, description="independent values behind it: groups of pictures, or parts")
    quantiles: tuple[FiniteFloat, ...] = Field(
        min_length=STEPS + 1,
        max_length=STEPS + 1,
        description="lowest, 5 %, 10 % ... 95 %, highest: a histogram of 20 equal shares",
    )

    @field_validator("quantiles")
    @classmethod
    def _rising(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if any(first > second for first, second in pairwise(quantiles)):
            raise ValueError("quantiles must not fall")
        return quantiles

    @classmethod
    def of(cls, values: Sequence[float], number: int | None = None) -> "Distribution":
        """Of N values, at least one; `number` where fewer of them are independent."""
        quantiles = np.quantile(np.asarray(values, float), np.linspace(0, 1, STEPS + 1))
        return cls(number=number or len(values), quantiles=tuple(np.maximum.accumulate(quantiles).tolist()))

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The first quarter ends here, the half, the third quarter."""
        return self.quantiles[STEPS // 4], self.quantiles[STEPS // 2], self.quantiles[3 * STEPS // 4]


class GoodPictures(BaseModel):
    """Good pictures of the held-out groups, as the model sees them, without the letterbox's bars.

    Defective ones are left out: of a dataset they are a third or a half, of a line's parts one in a hundred.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    brightness: Distribution = Field(description="mean grey value, 0..255")
    sharpness: Distribution = Field(description="as deploy.sharpness measures it, in squared grey steps")


def light_and_focus(picture: Picture, spec: Preprocessing) -> tuple[float, float]:
    """Brightness and sharpness of what the model is shown, H x W x 3 BGR, at the size at which it sees it.

    So that they compare whatever the camera's resolution. 0.1 ms for 224 x 224 pixels, and what shrinking a larger picture takes.
    """
    grey = np.asarray(cv2.cvtColor(fitted(picture, spec), cv2.COLOR_BGR2GRAY), np.uint8)
    return cv2.mean(grey)[0], sharpness(grey)
