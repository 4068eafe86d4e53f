"""Each switch of the augmentation alone, at its strongest."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from deploy.preprocess import Preprocessing
from pipeline.data.augment import augment, blur_kernel, build_augmentation
from pipeline.data.augment.camera import camera_noise
from pipeline.data.augment.cut_paste import Bank
from pipeline.data.augment.pad import lift, pad_rgb, sink
from pipeline.data.augment.settings import Augmentation
from pipeline.data.example import Example

OFF = Augmentation(flip_horizontal=False, flip_vertical=False, rotation=0, shift=0, scale=0, brightness=0, contrast=0)
DRAWS = 7
"""How often what is random even at its strongest is shown."""


class Extreme(NamedTuple):
    """One switch at its strongest."""

    switch: str
    start: Example
    variants: tuple[tuple[str, Example], ...]
    """Each with its caption."""


def extremes(
    augmentation: Augmentation, spec: Preprocessing, example: Example, good: Example | None, bank: Bank
) -> list[Extreme]:
    """One for each switch that is on, shown on `example`; `cut_paste` on a `good` one, never without a bank."""
    rows = [
        Extreme(switch, example, tuple((caption, _apply(change, example)) for caption, change in variants))
        for switch, variants in (*_moves(augmentation, spec), *_shades(augmentation))
        if variants
    ]
    if augmentation.cutout:
        rows.append(_drawn("cutout", OFF.model_copy(update={"cutout": 1.0}), spec, example, ()))
    if augmentation.cut_paste and good and bank:
        pasting = {"cut_paste": 1.0} | {f"flip_{way}": getattr(augmentation, f"flip_{way}") for way in ("horizontal", "vertical")}
        rows.append(_drawn("cut_paste", OFF.model_copy(update=pasting), spec, good, bank))
    return rows


Variant = tuple[str, Callable[[Tensor], Tensor]]


def _moves(on: Augmentation, spec: Preprocessing) -> Iterator[tuple[str, list[Variant]]]:
    pad = pad_rgb(spec)

    def affine(angle: float = 0, right: float = 0, down: float = 0, scale: float = 1) -> Callable[[Tensor], Tensor]:
        def move(plane: Tensor) -> Tensor:
            right_down = [round(right * spec.width), round(down * spec.height)]
            if not isinstance(plane, tv_tensors.Image):
                truth: Tensor = F.affine(plane, angle, right_down, scale, [0.0])
                return truth
            moved: Tensor = F.affine(sink(plane, pad), angle, right_down, scale, [0.0], v2.InterpolationMode.BILINEAR)
            picture: Tensor = lift(moved, pad)
            return picture

        return move

    def turned(angle: int) -> Callable[[Tensor], Tensor]:
        return lambda plane: F.rotate(plane, angle)

    far = on.shift
    yield "flip_horizontal", [("mirrored", F.horizontal_flip)] if on.flip_horizontal else []
    yield "flip_vertical", [("mirrored", F.vertical_flip)] if on.flip_vertical else []
    yield "right_angles", [(f"{angle}°", turned(angle)) for angle in (90, 180, 270)] if on.right_angles else []
    yield "rotation", [(f"{angle:+g}°", affine(angle)) for angle in (-on.rotation, on.rotation)] if on.rotation else []
    yield (
        "shift",
        [
            (f"{far:.0%} {way}", affine(right=right * far, down=down * far))
            for way, right, down in (("left", -1, 0), ("right", 1, 0), ("up", 0, -1), ("down", 0, 1))
        ]
        if far
        else [],
    )
    yield "scale", [(f"x {size:.2g}", affine(scale=size)) for size in (1 - on.scale, 1 + on.scale)] if on.scale else []


def _shades(on: Augmentation) -> Iterator[tuple[str, list[Variant]]]:
    for switch, strongest, adjust in (
        ("brightness", on.brightness, F.adjust_brightness),
        ("contrast", on.contrast, F.adjust_contrast),
        ("saturation", on.saturation, F.adjust_saturation),
    ):
        yield switch, [(f"x {by:.2g}", _bound(adjust, by)) for by in (1 - strongest, 1 + strongest)] if strongest else []
    bends = (1 / (1 + on.gamma), 1 + on.gamma)
    yield "gamma", [(f"exponent {by:.2f}", _bound(F.adjust_gamma, by)) for by in bends] if on.gamma else []
    yield "hue", [(f"{by:+.2g}", _bound(F.adjust_hue, by)) for by in (-on.hue, on.hue)] if on.hue else []
    blur = _bound(F.gaussian_blur, [blur_kernel(on.blur)] * 2, [on.blur] * 2)
    yield "blur", [(f"sigma {on.blur:g} px", blur)] if on.blur else []
    yield "noise", [(f"{on.noise:g} grey levels at white", _bound(camera_noise, on.noise))] if on.noise else []


def _bound(function: Callable[..., Tensor], *values: object) -> Callable[[Tensor], Tensor]:
    """The function with everything but the picture filled in; of the truth it changes nothing."""
    return lambda plane: function(plane, *values) if isinstance(plane, tv_tensors.Image) else plane


def _apply(change: Callable[[Tensor], Tensor], example: Example) -> Example:
    picture = change(tv_tensors.Image(example.picture)).as_subclass(Tensor)
    truth = change(tv_tensors.Mask(example.truth)).as_subclass(Tensor)
    return example._replace(picture=picture, truth=truth)


def _drawn(switch: str, alone: Augmentation, spec: Preprocessing, example: Example, bank: Bank) -> Extreme:
    changes = build_augmentation(alone, spec, bank)
    return Extreme(switch, example, tuple((f"draw {number}", augment(changes, example)) for number in range(1, DRAWS + 1)))
