"""How a camera is to take its pictures: the same words for every camera, and a refusal wherever a camera has no such thing."""

from dataclasses import replace
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deploy.cameras import Camera, Frame
from deploy.errors import CameraError

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class CameraSettings(BaseModel):
    """What is left out stays as it is in the camera."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exposure: Literal["auto"] | Annotated[float, Field(gt=0, le=60e6)] | None = Field(
        None, description="exposure time in microseconds, or auto"
    )
    gain: Literal["auto"] | Annotated[float, Field(ge=-20, le=1000)] | None = Field(
        None, description="gain in decibels, or auto; of a webcam in its own steps, which have no unit"
    )
    white_balance: Literal["auto", "off"] | Annotated[int, Field(ge=1000, le=20000)] | None = Field(
        None, description="auto, off (it stays as it is now), or the light's colour temperature in kelvin"
    )
    pixel_format: str | None = Field(
        None, min_length=1, description="the camera's own name of it, such as Mono8 or BayerRG8; industrial cameras only"
    )
    rotation: Literal[0, 90, 180, 270] = Field(0, description="degrees clockwise by which pictures are turned")

    def asked(self) -> list[str]:
        """The settings that the camera itself must have."""
        return [name for name in ("exposure", "gain", "white_balance", "pixel_format") if getattr(self, name) is not None]


def refuse_all(name: str, settings: CameraSettings, instead: str) -> None:
    """Raise CameraError when anything but the rotation is set for a source that takes no settings."""
    if asked := settings.asked():
        raise CameraError(f"{name}: {', '.join(asked)} cannot be set here, only rotation can; {instead}")


def turned(camera: Camera, settings: CameraSettings) -> Camera:
    """The camera with its pictures turned as the settings say; itself where they are not."""
    return Turned(camera, settings.rotation) if settings.rotation else camera


class Turned(Camera):
    """A camera that is mounted on its side or upside down."""

    def __init__(self, camera: Camera, degrees: int) -> None:
        self.live = camera.live
        self.fps = camera.fps
        self._camera = camera
        self._turn = _TURNS[degrees]

    def read(self) -> Frame | None:
        """See `deploy.cameras.Camera.read`."""
        frame = self._camera.read()
        return frame and replace(frame, picture=np.asarray(cv2.rotate(frame.picture, self._turn), np.uint8))

    def has_news(self) -> bool:
        """See `deploy.cameras.Camera.has_news`."""
        return self._camera.has_news()

    def close(self) -> None:
        """Close the camera."""
        self._camera.close()
