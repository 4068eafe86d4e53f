"""The demo line's lot: which parts are made, with which defect, and the stills the line camera takes of them.

Every random choice has its own stream, named by seed, part and purpose: nothing depends on what was rendered before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.errors import DatasetError
from deploy.preprocess import Picture
from pipeline.data.demo.camera import STILL, belt_at, draw_light, expose, lay, light_part
from pipeline.data.demo.defects import DEFECT_TYPES, spoil
from pipeline.data.demo.parts import Part, Plane, draw_part

MAX_TILT = float(np.radians(12))
"""How far a part may lie turned on the belt, radians."""

# Purposes of a stream. Defects take _DEFECT + the type's place in DEFECT_TYPES, so a new type goes at its end.
_SURFACE, _DEFECT, _LOT, PASSING, _EXPOSURE = 1, 100, 2, 3, 1000


@dataclass(frozen=True)
class LotPart:
    """One part of a lot."""

    name: str
    """Unique over seeds: `s0p0012`."""
    index: int
    defect_type: str | None
    """None for a good part."""


def stream(seed: int, part: int, purpose: int) -> np.random.Generator:
    """The random numbers for one purpose, the same in every run."""
    return np.random.default_rng([seed, part, purpose])


def plan_lot(parts: int, defective_share: float, types: Sequence[str], seed: int) -> list[LotPart]:
    """Spread the defects over a lot, types balanced.

    Raises DatasetError for a type nobody can render, or numbers that leave a class empty.
    """
    unknown = [kind for kind in types if kind not in DEFECT_TYPES]
    if unknown:
        raise DatasetError(f"unknown defect type {', '.join(unknown)}; the demo line renders {', '.join(DEFECT_TYPES)}")
    if seed < 0:
        raise DatasetError(f"seed is {seed}; choose 0 or more")
    if not 0 <= defective_share < 1:
        raise DatasetError(f"defective share is {defective_share}; choose 0 or more and less than 1")
    kinds = sorted(set(types), key=DEFECT_TYPES.index)
    defective = round(parts * defective_share)
    if parts - defective < 1 or defective < (len(kinds) or 1 if defective_share else 0):
        raise DatasetError(
            f"{parts} parts at a defective share of {defective_share:g} are {parts - defective} good and {defective} defective; "
            f"at least 1 good part and 1 for each of {len(kinds)} defect types are needed: "
            "ask for more parts, another share, or other types"
        )
    if defective and not kinds:
        raise DatasetError("no defect types were asked for; name at least one, or set the defective share to 0")
    # The order of parts is drawn without looking at the types: asking for fewer of them leaves the same parts defective.
    spoilt = stream(seed, 0, _LOT).permutation(parts)[:defective]
    kind_of = {int(part): kinds[turn % len(kinds)] for turn, part in enumerate(spoilt)}
    return [LotPart(f"s{seed}p{index:04d}", index, kind_of.get(index)) for index in range(parts)]


def made_part(seed: int, part: LotPart) -> tuple[Part, Plane]:
    """The part with its defect, and the mask; the mask is empty for a good part."""
    good = draw_part(stream(seed, part.index, _SURFACE))
    if part.defect_type is None:
        return good, np.zeros_like(good.metal)
    return spoil(good, part.defect_type, stream(seed, part.index, _DEFECT + DEFECT_TYPES.index(part.defect_type)))


def take_still(seed: int, index: int, made: tuple[Part, Plane], exposure: int) -> tuple[Picture, Picture]:
    """One exposure of a part on the belt: the picture (STILL x STILL x 3) and the mask (STILL x STILL, 0 or 255)."""
    rng = stream(seed, index, _EXPOSURE + exposure)
    light = draw_light(rng, drift=index / 12)
    angle = float(rng.uniform(-MAX_TILT, MAX_TILT))
    shift = (float(rng.uniform(-7, 7)), float(rng.uniform(-7, 7)))
    patch = light_part(*made, light, angle, shift)
    scene = belt_at(int(rng.integers(0, 4096)), int(rng.integers(0, 250)), STILL, STILL)
    lay(scene, patch, 0, 0)
    return expose(scene, light, rng), patch.mask
