"""Training-time variation of pictures and of what is known of their pixels, by torchvision's transforms."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from deploy.errors import RunError
from deploy.preprocess import Preprocessing
from pipeline.data.augment.camera import add_noise, bend_brightness
from pipeline.data.augment.cut_paste import Bank, paste_defect
from pipeline.data.augment.pad import lift, pad_rgb, sink
from pipeline.data.augment.settings import Augmentation
from pipeline.data.example import DEFECT, UNKNOWN, Example

STAYS = 0.25
"""A picture is left where it is when moving it would leave less than this share of its defect in sight."""
HIDDEN = 0.1
"""Share of a known defect's pixels that may be erased."""
ERASED = (0.005, 0.03)
"""Smallest and largest erased area, as shares of the input."""


@dataclass(frozen=True)
class Changes:
    """What `augment` does, in this order."""

    cut_paste: float
    bank: Bank
    mirrors: tuple[bool, bool]
    """Whether pasted defects may be mirrored left to right, top to bottom."""
    moves: v2.Transform
    """Of the picture and its truth alike."""
    shades: v2.Transform
    """Of the picture alone."""
    erases: v2.Transform | None


def build_augmentation(augmentation: Augmentation, spec: Preprocessing, bank: Bank = ()) -> Changes:
    """Turn the recipe's switches into what `augment` takes. Raises RunError for right angles of an input that is not square."""
    if augmentation.right_angles and spec.height != spec.width:
        raise RunError(
            f"augmentation.right_angles is on, but the input is {spec.width} x {spec.height} pixels: a part turned by 90 degrees "
            "would not fit; use a square input, or switch it off"
        )
    pad = pad_rgb(spec)
    moves: list[v2.Transform] = []
    if augmentation.flip_horizontal:
        moves.append(v2.RandomHorizontalFlip())
    if augmentation.flip_vertical:
        moves.append(v2.RandomVerticalFlip())
    if augmentation.right_angles:
        moves.append(v2.RandomChoice([v2.Identity(), *(v2.RandomRotation((angle, angle)) for angle in (90, 180, 270))]))
    if augmentation.rotation or augmentation.shift or augmentation.scale:
        affine = v2.RandomAffine(
            augmentation.rotation,
            translate=(augmentation.shift, augmentation.shift),
            scale=(1 - augmentation.scale, 1 + augmentation.scale),
            interpolation=v2.InterpolationMode.BILINEAR,  # of the picture; codes of the truth are never mixed
            fill=None,  # 0: the colour of the bars, and GOOD
        )
        picture = tv_tensors.Image
        moves += [v2.Lambda(partial(sink, pad=pad), picture), affine, v2.Lambda(partial(lift, pad=pad), picture)]
    shades: list[v2.Transform] = []
    if augmentation.brightness or augmentation.contrast or augmentation.saturation or augmentation.hue:
        shades.append(v2.ColorJitter(augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue))
    if augmentation.gamma:
        shades.append(v2.Lambda(partial(bend_brightness, most=augmentation.gamma)))
    if augmentation.blur:
        shades.append(v2.GaussianBlur(blur_kernel(augmentation.blur), (0.01, augmentation.blur)))
    if augmentation.noise:
        shades.append(v2.Lambda(partial(add_noise, most=augmentation.noise)))
    return Changes(
        augmentation.cut_paste,
        bank,
        (augmentation.flip_horizontal, augmentation.flip_vertical),
        _chain(moves),
        _chain(shades),
        v2.RandomErasing(augmentation.cutout, ERASED, value=pad.flatten().tolist()) if augmentation.cutout else None,
    )


def augment(changes: Changes, example: Example) -> Example:
    """A varied copy of an example; the given one stays as it is. The truth stays true: see STAYS and HIDDEN."""
    if changes.cut_paste and not example.defective and changes.bank and torch.rand(()) < changes.cut_paste:
        example = paste_defect(example, changes.bank, changes.mirrors)
    moved: tuple[Tensor, Tensor] = changes.moves(tv_tensors.Image(example.picture), tv_tensors.Mask(example.truth))
    if example.defective and moved[1].count_nonzero() < STAYS * example.truth.count_nonzero():
        moved = example.picture, example.truth
    picture = changes.shades(tv_tensors.Image(moved[0])).as_subclass(Tensor)
    varied = example._replace(picture=picture, truth=moved[1].as_subclass(Tensor))
    return _erase(varied, changes.erases) if changes.erases else varied


def blur_kernel(sigma: float) -> int:
    """Pixels of a blur's window that hold nearly all of its weight; odd."""
    return 2 * max(1, round(2.5 * sigma)) + 1


def _chain(transforms: list[v2.Transform]) -> v2.Transform:
    return v2.Compose(transforms) if transforms else v2.Identity()


def _erase(example: Example, erases: v2.Transform) -> Example:
    """Erase a rectangle, unless it would hide where a defect is or may be. What it hides of a defect is no longer known."""
    erased = erases(tv_tensors.Image(example.picture)).as_subclass(Tensor)
    hidden = (erased != example.picture).any(dim=0)
    defect = example.truth == DEFECT
    if (hidden & (example.truth == UNKNOWN)).any() or (hidden & defect).sum() > HIDDEN * defect.sum():
        return example
    return example._replace(picture=erased, truth=torch.where(hidden & defect, UNKNOWN, example.truth))
