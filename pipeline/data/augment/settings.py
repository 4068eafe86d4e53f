"""What may be done to training pictures: only what is true for the part."""

from pydantic import BaseModel, ConfigDict, Field


class Augmentation(BaseModel):
    """What is done to training pictures. Switch off what is not true for the part: a mirrored L is a defect.

    `pipeline augment-preview` shows what each switch does to the pictures at hand. Every strength is the strongest that may
    occur: each picture gets one between nothing and it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Where the part lies
    flip_horizontal: bool = Field(True, description="mirrored left to right, half of the pictures")
    flip_vertical: bool = Field(True, description="mirrored top to bottom, half of the pictures")
    right_angles: bool = Field(False, description="turned by 90, 180 or 270 degrees, three in four; needs a square input")
    rotation: float = Field(10, ge=0, le=180, description="turned by so many degrees to either side")
    shift: float = Field(0.1, ge=0, le=0.5, description="moved each way by this share of the side")
    scale: float = Field(0.2, ge=0, lt=1, description="0.2: between 0.8 and 1.2 times as large")

    # The light
    brightness: float = Field(0.4, ge=0, lt=1, description="0.4: between 0.6 and 1.4 times as bright")
    contrast: float = Field(0.4, ge=0, lt=1, description="0.4: between 0.6 and 1.4 times the contrast")
    gamma: float = Field(0.0, ge=0, le=2, description="0.5: exponent of the brightness curve between 1 / 1.5 and 1.5")
    saturation: float = Field(0.0, ge=0, le=1, description="0.4: between 0.6 and 1.4 times as colourful")
    hue: float = Field(0.0, ge=0, le=0.5, description="share of the colour circle to either side; 0.5 is the opposite colour")

    # The camera
    blur: float = Field(0.0, ge=0, le=10, description="out of focus: sigma of a Gaussian, in pixels of the input")
    noise: float = Field(0.0, ge=0, le=64, description="a camera's: standard deviation at white, in grey levels of 255")

    # What is on it
    cutout: float = Field(0.0, ge=0, le=1, description="share of the pictures that lose a small rectangle, never a known defect")
    cut_paste: float = Field(
        0.0, ge=0, le=1, description="share of good pictures that get a real defect of another; for parts that all lie alike"
    )
